"""Where things live: the database, the songs it knows, and the files of uploads and results."""
