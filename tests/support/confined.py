#!/usr/bin/env python3
"""Runs a program under restrictions that systemd would set, where systemd does not run:  confined.py OPTION… -- PROGRAM ARGUMENT…

  filter=@GROUP       SystemCallFilter=@GROUP with EPERM; the group's calls are those that `systemd-analyze syscall-filter` lists
  families=AF_X,…     RestrictAddressFamilies=
  mdwe                MemoryDenyWriteExecute=, by PR_SET_MDWE (the kernel's own, from 6.3 on; systemd filters calls instead)
"""
import ctypes
import os
import re
import socket
import struct
import subprocess
import sys

LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL, X86_64 = 0x7FFF0000, 0x00050000, 0xC000003E
NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT = 0, 4, 16
libc = ctypes.CDLL(None, use_errno=True)


def numbers():
    with open('/usr/include/x86_64-linux-gnu/asm/unistd_64.h') as header:
        return {name: int(number) for name, number in re.findall(r'#define __NR_(\w+) (\d+)', header.read())}


def calls_of(group):
    listing = subprocess.run(['systemd-analyze', 'syscall-filter', group], capture_output=True, text=True, check=True)
    calls = set()
    for line in listing.stdout.splitlines()[1:]:
        word = line.strip()
        if word.startswith('@'):
            calls |= calls_of(word)
        elif word and not word.startswith('#'):
            calls.add(word)
    return calls


def install(program):
    filters = b''.join(struct.pack('HBBI', *line) for line in program)
    buffer = ctypes.create_string_buffer(filters)
    head = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(program), ctypes.addressof(buffer)))
    if libc.prctl(22, 2, head, 0, 0) != 0:
        sys.exit(f'seccomp: {os.strerror(ctypes.get_errno())}')


def begin():
    return [(LOAD, 0, 0, ARCHITECTURE_AT), (JUMP_EQUAL, 1, 0, X86_64), (RETURN, 0, 0, FAIL | 1), (LOAD, 0, 0, NUMBER_AT)]


def allow_calls(names):
    program, known = begin(), numbers()
    for number in sorted(known[name] for name in names if name in known):
        program += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    install(program + [(RETURN, 0, 0, FAIL | 1)])


def allow_families(names):
    families = [getattr(socket, name) for name in names]
    checks = []
    for family in families:
        checks += [(JUMP_EQUAL, 0, 1, family), (RETURN, 0, 0, ALLOW)]
    checks.append((RETURN, 0, 0, FAIL | 97))
    program, known = begin(), numbers()
    program += [(JUMP_EQUAL, 2, 0, known['socket']), (JUMP_EQUAL, 1, 0, known['socketpair']), (RETURN, 0, 0, ALLOW)]
    install(program + [(LOAD, 0, 0, FIRST_ARGUMENT_AT)] + checks)


options, command = sys.argv[1:sys.argv.index('--')], sys.argv[sys.argv.index('--') + 1:]
groups = [option[7:] for option in options if option.startswith('filter=')]
allowed = set().union(*map(calls_of, groups)) if groups else None
libc.prctl(38, 1, 0, 0, 0)  # NO_NEW_PRIVS
for option in options:
    if option.startswith('families='):
        allow_families(option[9:].split(','))
    elif option == 'mdwe' and libc.prctl(65, 1, 0, 0, 0) != 0:
        sys.exit(f'PR_SET_MDWE: {os.strerror(ctypes.get_errno())}')
if allowed:
    allow_calls(allowed | {'execve'})
os.execvp(command[0], command)
