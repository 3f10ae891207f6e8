#!/usr/bin/env python3
"""Asks one server of a cluster, and only that one: what the client never shows, since it goes on to another server.

    ask.py PORT cluster             what the server says of itself and of its cluster
    ask.py PORT balance N [AFTER]   BALANCE of account N with the flags AFTER (0 by default) and LSN
    ask.py PORT totals              TOTALS

It is written from docs/PROTOCOL.md alone.
"""

import socket
import struct
import sys
import zlib

ERRORS = {4: "ERR_NO_ACCOUNT", 12: "ERR_NOT_PRIMARY", 13: "ERR_BEHIND", 14: "ERR_NO_QUORUM"}
ROLES = ["alone", "follower", "candidate", "primary", "learner"]
ERROR, AFTER, LSN = 2, 8, 16


def receive(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            sys.exit("the server closed the connection")
        data += piece
    return data


def call(stream, opcode, body, flags=0):
    """The LSN and the body of the answer, without its status."""
    head = struct.pack(">IHBBHI", 18 + len(body), 0xC0DE, 1, flags, opcode, 1)
    stream.sendall(head + struct.pack(">I", zlib.crc32(head + bytes(4) + body)) + body)
    length, _, _, flags = struct.unpack(">IHBB", receive(stream, 8))
    answer = receive(stream, length - 8)[10:]
    lsn = 0
    if flags & LSN:
        lsn, answer = struct.unpack(">Q", answer[:8])[0], answer[8:]
    status = struct.unpack(">H", answer[:2])[0]
    if flags & ERROR:
        print(ERRORS.get(status, f"status {status}"))
        sys.exit()
    return lsn, answer[2:]


def main(port, what, *numbers):
    with socket.create_connection(("127.0.0.1", int(port)), timeout=3) as stream:
        call(stream, 0x0001, b"\4demo\4demo")
        if what == "cluster":
            _, answer = call(stream, 0x00F2, b"")
            number, role, term, committed, applied, primary = struct.unpack(">BBQQQB", answer[:27])
            known = f"primary {primary}" if primary else "no primary"
            print(f"{ROLES[role]} member {number} term {term} {known} committed {committed} applied {applied}")
        elif what == "balance":
            account, after = (int(number) for number in (*numbers, 0)[:2])
            lsn, answer = call(stream, 0x0005, struct.pack(">QI", after, account), AFTER | LSN)
            cents = struct.unpack(">q", answer)[0]
            print(f"OK {cents // 100}.{cents % 100:02} as of operation {lsn}")
        elif what == "totals":
            call(stream, 0x00F1, b"")
            print("OK")


try:
    main(*sys.argv[1:])
except TimeoutError:
    print("no answer")
