"""Socket.IO: rooms and replay."""

from flask_socketio import SocketIO

socketio = SocketIO()
