"""Socket.IO: rooms, replay, live transcription."""

from flask_socketio import SocketIO

socketio = SocketIO()
