"""Avro records with a schema registry's header, by fastavro: `tests/registry_orders.rs` runs it.

avro_records.py REGISTRY read: a record in hexadecimal digits a line; prints the id of its schema and its value, as JSON.
avro_records.py REGISTRY write ID: a value as JSON a line; prints it as a record with this schema, in hexadecimal digits.

Whole schemas come from the registry by HTTP alone.
"""

import datetime
import functools
import io
import json
import struct
import sys
import urllib.request

import fastavro

registry = sys.argv[1]


@functools.cache
def schema(number):
    with urllib.request.urlopen(f"{registry}/schemas/ids/{number}", timeout=30) as answer:
        return fastavro.parse_schema(json.loads(json.load(answer)["schema"]))


def milliseconds(value):
    if isinstance(value, datetime.datetime):
        return round(value.timestamp() * 1000)
    raise TypeError(value)


def read(record):
    magic, number = struct.unpack(">bI", record[:5])
    assert magic == 0, record
    rest = io.BytesIO(record[5:])
    value = fastavro.schemaless_reader(rest, schema(number), None)
    assert rest.read() == b"", "bytes are left over"
    return json.dumps({"id": number, "value": value}, default=milliseconds)


def write(number, value):
    out = io.BytesIO()
    out.write(struct.pack(">bI", 0, number))
    fastavro.schemaless_writer(out, schema(number), value)
    return out.getvalue().hex()


for line in sys.stdin:
    if sys.argv[2] == "read":
        print(read(bytes.fromhex(line)))
    else:
        print(write(int(sys.argv[3]), json.loads(line)))
