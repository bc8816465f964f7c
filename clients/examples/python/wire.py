"""What a client needs besides the generated stub: the checksum, the key hash, and the rules of a batch (docs/protocol.md)."""

_CRC_TABLE = []
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = (_crc >> 1) ^ 0x82F63B78 if _crc & 1 else _crc >> 1
    _CRC_TABLE.append(_crc)


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """The hash of a key as Kafka computes it, unsigned."""
    multiplier = 0x5BD1E995
    mask = 0xFFFFFFFF
    value = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * multiplier & mask
        word = (word ^ (word >> 24)) * multiplier & mask
        value = (value * multiplier & mask) ^ word
    rest = key[whole:]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * multiplier & mask
    value = (value ^ (value >> 13)) * multiplier & mask
    return value ^ (value >> 15)


def partition_of(key_hash: int, partitions: int) -> int:
    return (key_hash & 0x7FFFFFFF) % partitions


class CorruptBatch(Exception):
    """These bytes are not a batch in which every reader sees the same messages."""


def check_batch(data: bytes, count: int) -> None:
    """The structure that a server demands: `messages` and nothing else, no field twice, `count` of them."""
    found = 0
    for field, wire, value in _fields(data):
        if (field, wire) != (1, 2):
            raise CorruptBatch(f"field {field} of wire type {wire} is not `messages`")
        _check_message(value)
        found += 1
    if found != count:
        raise CorruptBatch(f"{found} messages, not {count}")


def _check_message(data: bytes) -> None:
    seen = set()
    for field, wire, value in _fields(data):
        if field in (1, 2, 3) and wire != 2 or field == 4 and wire != 0:
            raise CorruptBatch(f"field {field} of a message has wire type {wire}")
        if field in (1, 2, 4):
            if field in seen:
                raise CorruptBatch(f"field {field} of a message comes twice")
            seen.add(field)
        if field == 3:
            _check_header(value)
        if field == 4:
            time = value - (1 << 64) if value >= 1 << 63 else value
            if abs(time) > 2**53 - 1:
                raise CorruptBatch("an event time beyond 2^53")


def _check_header(data: bytes) -> None:
    seen = set()
    for field, wire, value in _fields(data):
        if field > 2:
            continue
        if wire != 2 or field in seen:
            raise CorruptBatch(f"field {field} of a header is wrong")
        seen.add(field)
        if field == 1:
            try:
                value.decode("utf-8")
            except UnicodeDecodeError as problem:
                raise CorruptBatch("a header's name is not UTF-8") from problem


def _fields(data: bytes):
    """(number, wire type, value) of each field of a protobuf message; what is cut off or no field is refused."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        if field == 0:
            raise CorruptBatch("field number 0")
        if wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = data[at : at + size], at + size
        elif wire == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise CorruptBatch(f"wire type {wire}")
        if at > len(data):
            raise CorruptBatch("cut off")
        yield field, wire, value


def _varint(data: bytes, at: int):
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise CorruptBatch("cut off")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            # Whoever wrote more than 64 bits would be read differently by different readers.
            if value >= 1 << 64:
                raise CorruptBatch("a number over 64 bits")
            return value, at
    raise CorruptBatch("a number of more than 10 bytes")
