"""The little of LDAP (RFC 4511) that changes a directory: one connection, whose calls return once the server
has acknowledged. `ldapmodify` would add the start of a process to every change that is timed."""

import socket
import ssl
import sys

ADD, DELETE, REPLACE = 0, 1, 2


def ber(tag, *parts):
    """A BER value."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def number(value):
    """A BER integer, not negative."""
    return ber(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def text(value):
    """A BER octet string."""
    return ber(0x04, value.encode())


def contents(data):
    """What a BER value holds, and what follows it."""
    size, at = data[1], 2
    if size & 0x80:
        at += size & 0x7F
        size = int.from_bytes(data[2:at], "big")
    return data[at : at + size], data[at + size :]


class Connection:
    """Bound as `dn`. With `ca_file` over TLS, whose certificate must be by that authority."""

    def __init__(self, host, port, dn, password, ca_file=None):
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ca_file:
            context = ssl.create_default_context(cafile=ca_file)
            self.socket = context.wrap_socket(self.socket, server_hostname=host)
        self.file = self.socket.makefile("rb")
        self.last = 0
        self.call(ber(0x60, number(3), text(dn), ber(0x80, password.encode())))

    def call(self, operation):
        """Ends this program unless the server answers with success."""
        self.last += 1
        self.socket.sendall(ber(0x30, number(self.last), operation))
        head = self.file.read(2)
        if len(head) < 2:
            sys.exit("the server closed the connection")
        size = head[1]
        if size & 0x80:
            more = self.file.read(size & 0x7F)
            head, size = head + more, int.from_bytes(more, "big")
        message, _ = contents(head + self.file.read(size))
        _, operation = contents(message)
        result, _ = contents(operation)
        code, rest = contents(result)
        if code != b"\0":
            _, told = contents(rest)
            told, _ = contents(told)
            sys.exit(f"the server refused: {int.from_bytes(code, 'big')} {told.decode()}")

    def modify(self, dn, how, attribute, value):
        """One change of one attribute."""
        values = ber(0x31, text(value))
        change = ber(0x30, ber(0x0A, bytes([how])), ber(0x30, text(attribute), values))
        self.call(ber(0x66, text(dn), ber(0x30, change)))

    def delete(self, dn):
        self.call(ber(0x4A, dn.encode()))
