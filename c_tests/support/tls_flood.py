"""A server over TLS 1.3 that sends what nobody asked for, or sends it slowly.

tls_flood.py FOLDER HOW: the certificate is FOLDER/valid.crt. Prints its port. HOW is
`tickets`: session tickets without end, from the handshake on;
`some`: a few hundred of them with each connection, and then it reads;
`data`: application data without end, once it has read a byte;
`slow`: an answer of one record, in pieces of 1 KiB, ten in a second;
`part`: the first half of such an answer, and then nothing.
It reads all that comes and throws it away.
"""
import socket
import ssl
import sys
import threading
import time

folder, how = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/valid.crt", folder + "/valid.key")
context.minimum_version = ssl.TLSVersion.TLSv1_3
if how in ("tickets", "some"):
    context.num_tickets = 2**31 if how == "tickets" else 300
ANSWER = b"x" * 16000


def read_all(connection):
    while connection.recv(65536):
        pass


def flood(accepted):
    """The handshake ends only after the last ticket."""
    with context.wrap_socket(accepted, server_side=True) as connection:
        if how == "data":
            connection.recv(1)
            while True:
                connection.sendall(bytes(1 << 16))
        read_all(connection)


def answer_slowly(accepted):
    """Through buffers in memory, so that a record can be cut."""
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(received, sent, server_side=True)

    def until_done(step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                accepted.sendall(sent.read())
                received.write(accepted.recv(65536))

    until_done(session.do_handshake)
    accepted.sendall(sent.read())
    until_done(lambda: session.read(1))
    session.write(ANSWER)
    record = sent.read()
    pieces = [record[at : at + 1024] for at in range(0, len(record), 1024)]
    for piece in pieces[: len(pieces) // 2] if how == "part" else pieces:
        accepted.sendall(piece)
        time.sleep(0.1)
    read_all(accepted)


def serve(accepted):
    try:
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        (answer_slowly if how in ("slow", "part") else flood)(accepted)
    except OSError:
        accepted.close()


listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
