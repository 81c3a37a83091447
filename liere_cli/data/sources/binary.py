"""Recognises files that are not text, by their first bytes."""

#: beginnings of files, and what to do with them; the first that fits
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS: fetch the content with git lfs pull"),
    (b"PAR1", "parquet: write its column of text to a text file"),
    (b"ARROW1", "an Arrow table: write its column of text to a text file"),
    (b"\x93NUMPY", "a NumPy array: write the text that it encodes to a text file"),
    (b"\x89HDF", "HDF5: write its text to a text file"),
    (b"SQLite format 3", "a database: write its text to a text file"),
    (b"\xff\xfe\0\0", "text in UTF-32: convert it with iconv -f UTF-32 -t UTF-8"),
    (b"\0\0\xfe\xff", "text in UTF-32: convert it with iconv -f UTF-32 -t UTF-8"),
    (b"\xff\xfe", "text in UTF-16: convert it with iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "text in UTF-16: convert it with iconv -f UTF-16 -t UTF-8"),
    (b"%PDF", "PDF: convert it with pdftotext"),
    (b"{\\rtf", "RTF: save it as plain text"),
    (b"\x89PNG", "an image: use images:DIR"),
    (b"\xff\xd8\xff", "an image: use images:DIR"),
    (b"GIF8", "an image: use images:DIR"),
    (b"\x80\x02", "a Python pickle: write its text to a text file"),
    (b"\x80\x03", "a Python pickle: write its text to a text file"),
    (b"\x80\x04", "a Python pickle: write its text to a text file"),
    (b"\x80\x05", "a Python pickle: write its text to a text file"),
    # archives in archives, and formats that are not unpacked here
    (b"\x1f\x8b", "another archive: unpack it"),
    (b"\xfd7zXZ", "another archive: unpack it"),
    (b"(\xb5/\xfd", "another archive: unpack it"),
    (b"PK\3\4", "another archive: unpack it"),
    (b"BZh", "another archive: unpack it"),
    (b"7z\xbc\xaf", "an archive: unpack it"),
    (b"Rar!", "an archive: unpack it"),
    (b"\x04\x22\x4d\x18", "an archive: unpack it"),
    (b"\x1f\x9d", "an archive: unpack it"),
    (b"!<arch>", "an archive: unpack it"),
    (b"\xcb\x0d\x0d\x0a", "Python byte code"),
)
#: text has none; stray ones are accepted
_MOST_ZEROS = 0.001


def kind_of_binary(start: bytes) -> str:
    """What a file is and what to do with it, from its beginning; empty for text in an encoding of
    single bytes or UTF-8.
    """
    for magic, kind in _STARTS:
        if start.startswith(magic):
            return kind
    if start[257:262] == b"ustar":
        return "an archive (tar): unpack it, and join its files"
    if start.count(0) > _MOST_ZEROS * len(start):
        return (
            "binary data, such as numbers of tokens or text in UTF-16: write the text that it "
            "holds as UTF-8, or use tokens:FILE for numbers"
        )
    return ""
