#!/usr/bin/env python3
"""A client of the key-value store by hand: ONC RPC and XDR need no library.

    examples/kv_by_hand.py HOST PORT KEY VALUE     puts the value, gets it, and prints the value and its version
"""
import os, socket, struct, sys


def opaque(data):  # Its length, and zeros up to a multiple of four bytes (RFC 4506).
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def call(procedure, arguments):  # xid, CALL, RPC version, program, version, procedure, no credentials, no verifier (RFC 5531).
    message = struct.pack(">10I", 7, 0, 2, 0x31230018, 1, procedure, 0, 0, 0, 0) + arguments
    server.sendall(struct.pack(">I", 1 << 31 | len(message)) + message)  # One fragment, the last one, and so long.
    reply = server.recv(struct.unpack(">I", server.recv(4, socket.MSG_WAITALL))[0] & ~(1 << 31), socket.MSG_WAITALL)
    if reply[:24] != struct.pack(">6I", 7, 1, 0, 0, 0, 0) or reply[24:28] != bytes(4):
        sys.exit("refused: " + reply.hex(" ", 4))  # Not REPLY, MSG_ACCEPTED, SUCCESS, or not KV_OK.
    return reply[28:]


host, port, key, value = sys.argv[1:]
server = socket.create_connection((host, port))
call(2, os.urandom(16) + opaque(key.encode()) + opaque(value.encode()) + struct.pack(">IQ", 0, 0))  # KV_ALWAYS
version, length = struct.unpack(">QI", (found := call(1, opaque(key.encode()) + bytes(8)))[:12])
print("version", version, "value", found[12:12 + length].decode())
