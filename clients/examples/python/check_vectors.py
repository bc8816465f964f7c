"""Checks the published test vectors (test/conformance/vectors) against the generated stub and wire.py.

    python check_vectors.py --vectors ../../../test/conformance/vectors [--server HOST:PORT]

With a server, the requests that it must refuse are sent to it as well.
"""

import argparse
import json
import pathlib
import struct
import sys

from google.protobuf import json_format

from sluice.v1 import messaging_pb2 as pb
from sluice.v1 import storage_pb2
from wire import CorruptBatch, check_batch, crc32c, murmur2, partition_of

METHODS = {"PublishRequest": "Publish", "SendRequest": "Send", "SubscribeRequest": "Subscribe", "ReadRequest": "Read"}


def check_crc32c(vector):
    assert crc32c(bytes.fromhex(vector["bytes"])) == vector["crc32c"]


def check_key_hash(vector):
    key_hash = murmur2(bytes.fromhex(vector["key"]))
    assert key_hash == vector["murmur2"]
    for partitions in (3, 8, 1000):
        assert partition_of(key_hash, partitions) == vector[f"partition_of_{partitions}"]


def check_accepted_batch(vector):
    data = bytes.fromhex(vector["bytes"])
    check_batch(data, len(vector["messages"]))
    assert crc32c(data) == vector["crc32c"]
    parsed = pb.Batch.FromString(data)
    assert [plain(message) for message in parsed.messages] == vector["messages"]
    assert [murmur2(m.key) if m.HasField("key") else 0 for m in parsed.messages] == vector["key_hashes"]
    if vector["canonical"]:
        assert built(vector["messages"]).SerializeToString(deterministic=True) == data


def plain(message):
    return {
        "key": message.key.hex() if message.HasField("key") else None,
        "payload": message.payload.hex() if message.HasField("payload") else None,
        "headers": [[header.name, header.value.hex()] for header in message.headers],
        "event_time_ms": message.event_time_ms if message.HasField("event_time_ms") else None,
    }


def built(messages):
    batch = pb.Batch()
    for message in messages:
        added = batch.messages.add()
        if message["key"] is not None:
            added.key = bytes.fromhex(message["key"])
        if message["payload"] is not None:
            added.payload = bytes.fromhex(message["payload"])
        for name, value in message["headers"]:
            added.headers.add(name=name, value=bytes.fromhex(value))
        if message["event_time_ms"] is not None:
            added.event_time_ms = message["event_time_ms"]
    return batch


def check_refused_batch(vector):
    try:
        check_batch(bytes.fromhex(vector["bytes"]), vector["count"])
    except CorruptBatch:
        return
    raise AssertionError("accepted")


HEADER = struct.Struct("<IIIIIIQIIQQQ")


def read_entry(data):
    """The fields of a stored entry, or None when these bytes are none."""
    if len(data) < HEADER.size:
        return None
    magic, header_crc, size, meta_bytes, payload_crc, kind, base, count, _, before, time, checkpoint = HEADER.unpack_from(data)
    meta_end = HEADER.size + meta_bytes
    if magic != 0x01454C53 or size != len(data) or meta_end > len(data):
        return None
    if crc32c(data[8:meta_end]) != header_crc or crc32c(data[meta_end:]) != payload_crc:
        return None
    if kind > 1 or (kind == 1) != (count == 0) or max(base, before, time, checkpoint) > 2**53 - 1:
        return None
    return {
        "kind": "control" if kind else "batch",
        "base_offset": base,
        "count": count,
        "cumulative_count": before,
        "append_time_ms": time,
        "checkpoint_offset": checkpoint - 1,
        "meta": data[HEADER.size : meta_end].hex(),
        "payload": data[meta_end:].hex(),
        "payload_crc32c": payload_crc,
        "header_crc32c": header_crc,
    }


def check_entry(vector):
    entry = read_entry(bytes.fromhex(vector["bytes"]))
    expected = {name: value for name, value in vector.items() if name not in ("name", "bytes")}
    assert entry == expected, entry
    if vector["kind"] == "batch":
        meta = storage_pb2.EntryMeta.FromString(bytes.fromhex(vector["meta"]))
        assert meta.info.count == vector["count"]


def check_refused_entry(vector):
    assert read_entry(bytes.fromhex(vector["bytes"])) is None


def check_frame(vector):
    kind = getattr(pb, vector["message"])
    data = bytes.fromhex(vector["bytes"])
    from_json = json_format.ParseDict(vector["value"], kind())
    assert kind.FromString(data) == from_json
    assert from_json.SerializeToString(deterministic=True) == data


def refusal_checker(channel):
    """Sends a request as raw bytes; the server must refuse it with the reason and the field that the vector names."""
    import grpc

    def check(vector):
        method = f"/sluice.v1.Messaging/{METHODS[vector['message']]}"
        data = bytes.fromhex(vector["bytes"])
        try:
            if vector["message"] == "SendRequest":
                channel.unary_unary(method)(data, timeout=10)
            elif vector["message"] == "ReadRequest":
                list(channel.unary_stream(method)(data, timeout=10))
            else:
                list(channel.stream_stream(method)(iter([data]), timeout=10))
        except grpc.RpcError as error:
            details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
            assert vector["reason"].encode() in details, f"{error.code()}: {error.details()}"
            assert vector["field"].encode() in details, f"{error.code()}: {error.details()}"
            return
        raise AssertionError("the server took it")

    return check


CHECKS = {
    "crc32c.json": check_crc32c,
    "key-hash.json": check_key_hash,
    "batches.json": check_accepted_batch,
    "batches-refused.json": check_refused_batch,
    "entries.json": check_entry,
    "entries-refused.json": check_refused_entry,
    "frames.json": check_frame,
}


def main():
    parser = argparse.ArgumentParser(description="Checks the test vectors of the wire.")
    parser.add_argument("--vectors", required=True, type=pathlib.Path)
    parser.add_argument("--server", help="HOST:PORT of a server to which refused requests are sent")
    options = parser.parse_args()
    checks = dict(CHECKS)
    if options.server:
        import grpc

        checks["frames-refused.json"] = refusal_checker(grpc.insecure_channel(options.server))
    failed = 0
    for file, check in checks.items():
        vectors = json.loads((options.vectors / file).read_text("utf-8"))["vectors"]
        for vector in vectors:
            try:
                check(vector)
            except Exception as problem:  # every vector is reported, whatever is wrong with it
                failed += 1
                print(f"{file}: {vector['name']}: {type(problem).__name__} {problem}", file=sys.stderr)
        print(f"{file}: {len(vectors)} checked")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
