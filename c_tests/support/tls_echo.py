"""An echo over TLS on the smallest socket buffers: it reads no more until its echo is taken.

tls_echo.py FOLDER VERSION: the certificate is FOLDER/valid.crt, VERSION is TLSv1_2 or TLSv1_3.
Prints its port, and for each connection that ends the bytes it read from it.
"""
import socket
import ssl
import sys

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/valid.crt", sys.argv[1] + "/valid.key")
context.minimum_version = context.maximum_version = ssl.TLSVersion[sys.argv[2]]

listener = socket.create_server(("127.0.0.1", 0))
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # one fits the window
listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
print(listener.getsockname()[1], flush=True)
while True:
    accepted, _ = listener.accept()
    count = 0
    with context.wrap_socket(accepted, server_side=True) as connection:
        while received := connection.recv(16384):
            count += len(received)
            connection.sendall(received)
    print(count, flush=True)
