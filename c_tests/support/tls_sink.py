"""A server over TLS that takes records of eight bytes and never says a word of its own.

tls_sink.py FOLDER VERSION: the certificate is FOLDER/valid.crt, VERSION is TLSv1_2 or TLSv1_3.
Prints its port, and reads another from its input: there, on 127.0.0.1, goes each record that has
come whole.
"""
import socket
import ssl
import sys
import threading

folder, version = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/valid.crt", folder + "/valid.key")
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]


def serve(accepted, port):
    held = b""
    try:
        with context.wrap_socket(accepted, server_side=True) as connection:
            with socket.create_connection(("127.0.0.1", port)) as receiver:
                while received := connection.recv(4096):
                    held += received
                    whole = len(held) - len(held) % 8
                    receiver.sendall(held[:whole])
                    held = held[whole:]
    except OSError:
        accepted.close()  # cut short


listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listener.getsockname()[1], flush=True)
port = int(input())
while True:
    threading.Thread(target=serve, args=(listener.accept()[0], port), daemon=True).start()
