"""A server over TLS that does not do as it is expected to.

tls_early.py FOLDER VERSION HOW: the certificate is FOLDER/valid.crt, VERSION is TLSv1_2 or TLSv1_3.
Prints its port. HOW is `early`: it answers as soon as it has read a little, and closes with the
rest unread; or `late`: it reads only after a while, to the end, and prints how many bytes it
read.
"""
import socket
import ssl
import sys
import time

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/valid.crt", sys.argv[1] + "/valid.key")
context.minimum_version = context.maximum_version = ssl.TLSVersion[sys.argv[2]]
# An end without close_notify is a failure.
context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    accepted, _ = listener.accept()
    connection = context.wrap_socket(accepted, server_side=True)
    if sys.argv[3] == "early":
        connection.recv(100)
        connection.sendall(b"413 too large\n")
        time.sleep(0.1)  # the client has more on its way
        connection.close()
        continue
    time.sleep(0.3)
    count = 0
    try:
        while received := connection.recv(65536):
            count += len(received)
        print(count, flush=True)
    except OSError as error:
        print("after", count, error, flush=True)
    connection.close()
