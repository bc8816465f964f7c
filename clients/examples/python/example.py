"""Publishes, consumes, acknowledges and reads, with a generated stub at its default limits and nothing else.

    python example.py --server 127.0.0.1:7650 [--topic orders]
"""

import argparse
import queue
import random
import sys
import uuid

import grpc

from sluice.v1 import messaging_pb2 as pb
from sluice.v1 import messaging_pb2_grpc
from wire import crc32c, murmur2

HELLO = pb.ClientHello(protocol_version=1, client="sluice-example-python/0.1.0")
HANDLE = 1


class Stream:
    """A bidirectional call: requests go in whenever there is one, responses are iterated."""

    def __init__(self, method):
        self._requests = queue.Queue()
        self._responses = method(iter(self._requests.get, None))

    def send(self, request):
        self._requests.put(request)

    def __iter__(self):
        return iter(self._responses)

    def receive(self):
        return next(iter(self._responses))

    def close(self):
        """No more requests; the server answers what is under way and ends the call."""
        self._requests.put(None)


def send_one(messaging, topic):
    """The simplest way: one call; the server makes what is left out. A repeat with the same idempotency_id is answered, not stored."""
    request = pb.SendRequest(
        topic=topic,
        batch=pb.Batch(messages=[pb.Message(key=b"customer-1", payload=b"hello from Send")]),
        idempotency_id=str(uuid.uuid4()),
    )
    first = messaging.Send(request, timeout=10).results[0].stored
    again = messaging.Send(request, timeout=10).results[0].stored
    assert again.duplicate and again.offset == first.offset, "the repeat has the first one's offset"
    print(f"Send: stored at {first.partition}@{first.offset}, and the repeat is known")
    return first


def publish(messaging, topic, batches):
    """A named producer on a stream: every batch is stored once, whatever is repeated. Returns the offset of each batch."""
    stream = Stream(messaging.Publish)
    producer = pb.OpenProducer(handle=HANDLE, topic=topic, partition=0, name="example", instance=random.getrandbits(64))
    stream.send(pb.PublishRequest(hello=HELLO, open=[producer]))
    opened = first_of(stream, "opened")
    sequence = opened.last_sequence
    offsets = {}
    requests = []
    for messages in batches:
        batch = pb.Batch(messages=messages)
        hashes = [murmur2(m.key) if m.HasField("key") else 0 for m in messages]
        requests.append(
            pb.PublishBatch(
                handle=HANDLE,
                sequence=sequence + 1,
                prev_sequence=sequence,
                info=pb.BatchInfo(count=len(messages), key_hashes=hashes),
                batch=batch,
            )
        )
        sequence += 1
    requests[0].crc32c = crc32c(requests[0].batch.SerializeToString())
    # At most `window` batches without an answer.
    assert len(requests) < opened.window
    for request in requests:
        stream.send(pb.PublishRequest(batches=[request]))
    # As after a lost connection: the last one again, with its own sequence.
    stream.send(pb.PublishRequest(batches=[requests[-1]]))
    answers = 0
    for response in stream:
        for result in response.results:
            if result.WhichOneof("outcome") == "error":
                raise SystemExit(f"batch {result.sequence} was refused: {result.error.reason}: {result.error.message}")
            assert offsets.setdefault(result.sequence, result.stored.offset) == result.stored.offset
            answers += 1
        if answers == len(requests) + 1:
            stream.close()
    print(f"Publish: {len(requests)} batches stored once, the repeat of the last one included")
    return [offsets[request.sequence] for request in requests]


def first_of(stream, field):
    for response in stream:
        for failed in list(getattr(response, "closed", [])) + list(getattr(response, "detached", [])):
            raise SystemExit(f"refused: {failed.error.reason}: {failed.error.message}")
        for frame in getattr(response, field):
            return frame
    raise SystemExit("the server ended the stream")


def consume(messaging, topic, subscription, wanted):
    """Takes `wanted` messages from a durable subscription and acknowledges each delivery; the last one with a receipt."""
    stream = Stream(messaging.Subscribe)
    attach = pb.AttachConsumer(
        handle=HANDLE,
        topic=topic,
        subscription=subscription,
        consumer="example",
        instance=random.getrandbits(64),
        start=pb.Position(earliest=True),
    )
    credit = pb.Credit(handle=HANDLE, messages=1000, bytes=8 * 1024 * 1024)
    stream.send(pb.SubscribeRequest(hello=HELLO, attach=[attach], credit=[credit]))
    first_of(stream, "attached")
    received = []
    for response in stream:
        for ended in response.detached:
            if ended.HasField("error"):
                raise SystemExit(f"detached: {ended.error.reason}: {ended.error.message}")
        for delivery in response.deliveries:
            raw = delivery.batch.SerializeToString()
            # The bytes as stored, as long as whoever published wrote them as a stub does. A checksum in plain Python is slow.
            if len(raw) < 100_000:
                assert crc32c(raw) == delivery.crc32c, "the batch arrived as it was stored"
            messages = meant(delivery)
            received += [(offset, message.key, message.payload) for offset, message in messages]
            done = len(received) >= wanted
            stream.send(
                pb.SubscribeRequest(
                    # What has been taken may be sent again.
                    credit=[pb.Credit(handle=HANDLE, messages=len(messages), bytes=len(raw))],
                    acknowledge=[
                        pb.Acknowledge(
                            handle=HANDLE,
                            reset_epoch=delivery.reset_epoch,
                            up_to=messages[-1][0] + 1,
                            request_id=1 if done else 0,
                        )
                    ],
                )
            )
        for result in response.acknowledged:
            assert not result.HasField("error"), result.error.message
            print(f"Subscribe: {len(received)} messages, acknowledged durably")
            stream.send(pb.SubscribeRequest(detach=[pb.DetachConsumer(handle=HANDLE)]))
            stream.close()
    return received


def meant(delivery):
    """(offset, message) of the messages of a delivery: all, or those that its ranges name."""
    indexes = range(len(delivery.batch.messages))
    if delivery.ranges:
        indexes = [index for part in delivery.ranges for index in range(part.first, part.first + part.count)]
    return [(delivery.base_offset + index, delivery.batch.messages[index]) for index in indexes]


def read(messaging, topic):
    """The whole partition without a cursor."""
    found = []
    for response in messaging.Read(pb.ReadRequest(topic=topic, start=pb.Position(earliest=True))):
        for delivery in response.deliveries:
            found += [(offset, message.key, message.payload) for offset, message in meant(delivery)]
    print(f"Read: {len(found)} messages")
    return found


def main():
    parser = argparse.ArgumentParser(description="Publishes, consumes and acknowledges through a plain gRPC stub.")
    parser.add_argument("--server", default="127.0.0.1:7650")
    parser.add_argument("--topic", default=f"example-{uuid.uuid4()}")
    options = parser.parse_args()
    messaging = messaging_pb2_grpc.MessagingStub(grpc.insecure_channel(options.server))

    first = send_one(messaging, options.topic)
    batches = [
        [pb.Message(key=b"customer-1", payload=f"coffee {n}".encode()) for n in range(100)],
        # Four MiB in one batch: more than a stub takes at once, so the server delivers it in parts.
        [pb.Message(payload=bytes([n]) * 1024 * 1024) for n in range(4)],
        [pb.Message(payload=b"last", headers=[pb.Header(name="trace", value=b"1")], event_time_ms=1_760_000_000_000)],
    ]
    offsets = publish(messaging, options.topic, batches)

    expected = [(first.offset, b"customer-1", b"hello from Send")]
    for offset, messages in zip(offsets, batches):
        expected += [(offset + index, message.key, message.payload) for index, message in enumerate(messages)]
    received = consume(messaging, options.topic, "example", len(expected))
    # The topic may have older messages: the subscription has passed them, and a reader sees them first.
    if received != expected or read(messaging, options.topic)[-len(expected) :] != expected:
        sys.exit("what came out is not what went in")
    print("all messages came out as they went in")


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
