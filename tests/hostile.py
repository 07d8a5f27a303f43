"""Songs made to do harm: small files that ask for much memory or time, and scripts that name other files."""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable

import mutagen.mp4

from tests import damaged

MIB = 1024 * 1024
PICTURE = b"\0image/jpeg\0\3\0\xff\xd8\xff\xe0"  # of an APIC frame: encoding, kind, front cover, no description, JPEG
STREAMS = 1000


def zip_bomb() -> bytes:
    """A gibibyte of nothing in a megabyte of ZIP."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("song.mp3", "w") as song:
        for _ in range(1024):
            song.write(bytes(MIB))
    return written.getvalue()


def gzip_bomb() -> bytes:
    """A quarter of one in gzip."""
    return gzip.compress(bytes(256 * MIB))


def _tag(frames: bytes, version: int = 3) -> bytes:
    """An ID3v2 tag and a song after it."""
    size = bytes((len(frames) >> shift) & 127 for shift in (21, 14, 7, 0))
    return b"ID3" + bytes([version, 0, 0]) + size + frames + damaged.sound("mp3")


def _frame(name: bytes, body: bytes, flags: bytes = b"\0\0", *, syncsafe: bool = False) -> bytes:
    """A frame of such a tag."""
    size = bytes((len(body) >> shift) & 127 for shift in (21, 14, 7, 0)) if syncsafe else struct.pack(">I", len(body))
    return name + size + flags + body


def cover_mp3(size_bytes: int) -> bytes:
    """A song with a picture of that size."""
    return _tag(_frame(b"APIC", PICTURE + bytes(size_bytes)))


def cover_m4a(size_bytes: int) -> bytes:
    """A song with a picture of that size."""
    written = io.BytesIO(damaged.sound("m4a"))
    song = mutagen.mp4.MP4(written)
    song["covr"] = [mutagen.mp4.MP4Cover(b"\xff\xd8\xff\xe0" + bytes(size_bytes))]
    written.seek(0)
    song.save(written)
    return written.getvalue()


def pixel_bomb() -> bytes:
    """A song with a PNG of 900 million pixels, a third of a megabyte."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    picture = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(300 * MIB), 9)) + chunk(b"IEND", b"")
    return _tag(_frame(b"APIC", b"\0image/png\0\3\0" + picture))


def covers(count: int) -> bytes:
    """A song with so many pictures, each of which is a stream."""
    return _tag(_frame(b"APIC", PICTURE) * count)


def texts(count: int) -> bytes:
    """A song with so many tags of different names."""
    return _tag(b"".join(_frame(b"TXXX", b"\0k%d\0v" % number) for number in range(count)))


def chapters(count: int) -> bytes:
    """A song with so many chapters, each of which has a title: frames in frames."""
    title, times = _frame(b"TIT2", b"\0x"), struct.pack(">IIII", 0, 1000, 0, 0)
    return _tag(b"".join(_frame(b"CHAP", b"c%d\0" % number + times + title) for number in range(count)))


def compressed_title() -> bytes:
    """A song with twenty titles of 100 million characters, each compressed to a tenth of a megabyte."""
    size = 100_000_001
    body = struct.pack(">I", size) + zlib.compress(b"\0" + b"a" * (size - 1), 9)
    return _tag(_frame(b"TIT2", body, b"\0\x09", syncsafe=True) * 20, version=4)


def long_title() -> bytes:
    """A song with a title of ten million characters."""
    return _tag(_frame(b"TIT2", b"\0" + b"a" * 10_000_000))


def comments(count: int) -> bytes:
    """A FLAC file with so many Vorbis comments of different names."""
    sound = damaged.sound("flac")
    lines = b"".join(struct.pack("<I", 12) + b"K%07d=abc" % number for number in range(count))
    block = struct.pack("<II", 0, count) + lines
    return sound[:42] + bytes([0x84]) + len(block).to_bytes(3, "big") + block + _flac_frames(sound)


def _flac_frames(sound: bytes) -> bytes:
    """A FLAC file from its first frame on."""
    at, last = 4, False
    while not last:
        last, at = bool(sound[at] & 0x80), at + 4 + int.from_bytes(sound[at + 1 : at + 4], "big")
    return sound[at:]


def _box(name: bytes, *content: bytes) -> bytes:
    """A box of an m4a file."""
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), name) + body


def _full(name: bytes, *content: bytes, flags: int = 0) -> bytes:
    """A box with version and flags."""
    return _box(name, struct.pack(">I", flags), *content)


def _track(number: int, samples: int, reference: bytes = b"") -> bytes:
    """An AAC track that claims so many samples of one byte, in another file if a path is given."""
    description = bytes([3, 25, 0, 1, 0, 4, 17, 0x40, 0x15, 0, 0, 0]) + bytes(8) + bytes([5, 2, 0x12, 0x10, 6, 1, 2])
    sound = struct.pack(">6xHIIHHHHI", 1, 0, 0, 2, 16, 0, 0, damaged.RATE << 16)
    place = _full(b"url ", reference + b"\0") if reference else _full(b"url ", flags=1)
    tables = _box(
        b"stbl",
        _full(b"stsd", struct.pack(">I", 1), _box(b"mp4a", sound, _full(b"esds", description))),
        _full(b"stts", struct.pack(">III", 1, samples, 1024)),
        _full(b"stsc", struct.pack(">IIII", 1, 1, samples, 1)),
        _full(b"stsz", struct.pack(">II", 1, samples)),
        _full(b"stco", struct.pack(">II", 1, 40)),
    )
    data = _box(b"minf", _full(b"smhd", bytes(4)), _box(b"dinf", _full(b"dref", struct.pack(">I", 1), place)), tables)
    media = _box(b"mdia", _full(b"mdhd", struct.pack(">IIIII", 0, 0, damaged.RATE, 0, 0)),
                 _full(b"hdlr", bytes(4) + b"soun" + bytes(13)), data)  # fmt: skip
    return _box(b"trak", _full(b"tkhd", struct.pack(">IIIII60x", 0, 0, number, 0, 0), flags=7), media)


def _with_tracks(tracks: Iterable[bytes]) -> bytes:
    """A good m4a file with these tracks after its own; its sound, which stands before the tables, stays in place."""
    sound = damaged.sound("m4a")
    at = sound.index(b"moov") - 4
    moov = sound[at + 8 : at + int.from_bytes(sound[at : at + 4], "big")]
    assert sound.index(b"mdat") < at
    return sound[:at] + _box(b"moov", moov, *tracks)


def tracks(count: int, samples: int) -> bytes:
    """A song with so many tracks, each of which claims so many samples."""
    return _with_tracks(_track(number + 2, samples) for number in range(count - 1))


def elsewhere(path: str) -> bytes:
    """An m4a file whose sound stands in another file."""
    moov = _box(b"moov", _full(b"mvhd", struct.pack(">IIII80x", 0, 0, 1000, 0)), _track(1, 100, path.encode()))
    return _box(b"ftyp", b"M4A \0\0\0\0M4A mp42isom") + moov


def ogg_streams(count: int) -> bytes:
    """So many streams in one Ogg file: the first page of one, again and again under other numbers."""
    head = struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, 0, 48000, 0, 0)
    return b"".join(_ogg_page(number, head) for number in range(count)) + bytes(1000)


def _ogg_page(serial: int, body: bytes) -> bytes:
    """A page that begins a stream."""
    page = struct.pack("<4sBBqIII", b"OggS", 0, 2, 0, serial, 0, 0) + bytes([1, len(body)]) + body
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1) ^ (0x104C11DB7 if checksum & 0x80000000 else 0)
    return page[:22] + struct.pack("<I", checksum) + page[26:]


def years_of_packets() -> bytes:
    """An m4a file whose every packet claims to last half a day."""
    sound = bytearray(damaged.sound("m4a"))
    at = sound.index(b"stts") + 8
    for entry in range(int.from_bytes(sound[at : at + 4], "big")):
        sound[at + 8 + 8 * entry : at + 12 + 8 * entry] = struct.pack(">I", 2**31 - 1)
    return bytes(sound).replace(b"edts", b"free")  # an edit list would cut it to two seconds


def years_in_the_header(ending: str) -> bytes:
    """A song of two seconds whose header claims all that its field can hold."""
    if ending == "wav":
        sound = bytearray(damaged.wav(damaged.sine(2)))
        sound[4:8] = sound[40:44] = struct.pack("<I", 2**32 - 1)
    elif ending == "flac":
        sound = bytearray(damaged.sound("flac"))
        sound[21] |= 15
        sound[22:26] = b"\xff" * 4  # with the bits before, 36 bits of samples
    else:
        sound = bytearray(damaged.sound("m4a"))
        for name, at in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
            at += sound.index(name)
            sound[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(sound)


def scripts(url: str, path: str) -> dict[str, bytes]:
    """What names other places where there is sound, by the name of its kind."""
    written = {
        "an HLS playlist of a file": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{path}\n#EXT-X-ENDLIST\n",
        "an HLS playlist of an address": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n",
        "ffconcat of a file": f"ffconcat version 1.0\nfile '{path}'\n",
        "ffconcat of an address": f"ffconcat version 1.0\nfile '{url}'\n",
        "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "DASH": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>{url}</BaseURL>'
                "</Period></MPD>",
        "a playlist of a player": f"[playlist]\nFile1={url}\nNumberOfEntries=1\n",
    }  # fmt: skip
    return {name: text.encode() for name, text in written.items()}
