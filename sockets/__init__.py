"""Socket.IO: rooms, replay and live sessions."""

from flask_socketio import SocketIO

socketio = SocketIO()
