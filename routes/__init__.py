"""HTTP: one blueprint per resource; each view parses, asks and answers."""
