"""Writes the corpus: small sound inputs of every kind, some with a fault. Needs gcc for the libraries.

    python3 tests/fuzz/corpus.py
"""

import hashlib
import pathlib
import struct
import subprocess
import tempfile

HERE = pathlib.Path(__file__).parent
CORPUS = HERE / "corpus"
FIXTURES = HERE.parent / "fixtures" / "minisign"
KEY = FIXTURES.joinpath("minisign.pub").read_text().splitlines()[1]
SIGNATURE = FIXTURES.joinpath("plugin.toml.minisig").read_text()
HEADER = "_1as_0lib_1header_0root_bmodule_bloader"


def put(target, name, data):
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def manifest(files, more=""):
    text = '[plugin]\nname = "lora"\nversion = "1.2.0"\nkind = ["method"]\nlicense = "MIT"\n' + more
    text += '[api]\nversion = "1.0"\n[build]\ncommit = "0123abcd"\nrustc = "rustc 1.95.0"\n'
    for path, data in files:
        sha256 = hashlib.sha256(data).hexdigest()
        text += f'[[file]]\npath = "{path}"\nsize = {len(data)}\nsha256 = "{sha256}"\ntarget = "x86_64-linux"\n'
    return text


def entry(name, data, kind=b"0", size=None):
    head = bytearray(512)
    head[: len(name)] = name.encode()
    head[100:108] = b"0000644\0"
    head[124:136] = b"%011o\0" % (len(data) if size is None else size)
    head[156:157] = kind
    head[257:265] = b"ustar\x0000"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data + b"\0" * (-len(data) % 512)


def tar(*entries):
    return b"".join(entries) + b"\0" * 1024


def zstd(data):
    """A frame of raw blocks."""
    out = b"\x28\xb5\x2f\xfd" + bytes([0xA0]) + struct.pack("<I", len(data))
    blocks = [data[at : at + 65536] for at in range(0, len(data), 65536)] or [b""]
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        out += struct.pack("<I", len(block) << 3 | last)[:3] + block
    return out


def sealed(data):
    return data + b"\x50\x2a\x4d\x18" + struct.pack("<I", 32) + hashlib.sha256(data).digest()


def archives():
    files = [("README.md", b"# lora\n"), ("liblora.so", b"\x07" * 900)]
    text = manifest(files).encode()
    own = entry("p/plugin.toml", text)
    listed = [entry(f"p/{path}", data) for path, data in files]
    yield "sound", tar(own, *listed)
    yield "signed", tar(own, entry("p/plugin.toml.minisig", SIGNATURE.encode()), *listed)
    yield "twice", tar(own, *listed, listed[0])
    yield "link", tar(own, entry("p/README.md", b"", b"2"), listed[1])
    yield "endless", tar(own, entry("p/liblora.so", b"", size=0o77777777777))
    yield "manifest-last", tar(*listed, own)
    yield "outside", tar(own, entry("../../x", b"x"), *listed)


def library(target, flags, symbol=HEADER):
    with tempfile.TemporaryDirectory() as folder:
        source, made = pathlib.Path(folder, "a.c"), pathlib.Path(folder, "a.so")
        source.write_text(f"int {symbol}[4] = {{1}};\nint f(int x) {{ return x + {symbol}[0]; }}\n")
        command = ["gcc", "-shared", "-nostdlib", "-fPIC", "-O1", "-s", *flags, "-o", str(made), str(source)]
        subprocess.run(command, check=True)
        put("library", target, made.read_bytes())


def main():
    sound = manifest([("liblora.so", b"code")], 'needs = ["stage_data", "replay"]\npaper = "arXiv:2106.09685"\n')
    put("manifest", "sound", sound)
    put("manifest", "source", manifest([]))
    put("manifest", "outside", sound.replace("liblora.so", "../../x"))
    put("manifest", "deep", "a = " + "[" * 200)
    for name, data in archives():
        put("tar", name, data)
        put("sealed", name, zstd(data))
        put("package", name, sealed(zstd(data)))
    put("package", "unsealed", zstd(tar()))
    plugin = f'[[plugin]]\nname = "lora"\nversion = "1.2.0"\nsha256 = "{"0" * 64}"\nsize = 4\npath = "plugins/liblora.so"\n'
    put("lock", "one", plugin)
    put("lock", "known", plugin + f'source = "https://a.example/b"\nkey = "{"1" * 64}"\ncommit = "0123"\n')
    put("lock", "empty", "")
    put("lock", "negative", plugin.replace("size = 4", "size = -4"))
    package = (
        '[[package]]\nname = "lora"\nversion = "1.2.0"\nfile = "lora-1.2.0-x86_64-linux.coinplugin.tar.zst"\nsize = 4\n'
        f'sha256 = "{"0" * 64}"\napi = "1.0"\ntarget = ["x86_64-linux"]\n'
    )
    put("index", "one", package)
    put("index", "several", f'revoked = ["{KEY}"]\n' + package + package.replace("1.2.0", "1.10.0-rc.1") + 'key = "6EC706C800B29E03"\n')
    put("index", "outside", package.replace("lora-", "../lora-"))
    put("keyring", "lab", f'[[lab]]\nname = "vislab"\nindex = "https://a.example/"\n[[lab.key]]\npublic = "{KEY}"\nuntil = 2027-12-31\n')
    put("keyring", "revoked", f'[[revoked]]\npublic = "{KEY}"\nlab = "vislab"\nreason = "stolen"\n')
    put("keyring", "empty", "")
    put("signature", "sound", SIGNATURE)
    put("signature", "key", FIXTURES.joinpath("minisign.pub").read_bytes())
    put("signature", "short", "\n".join(line[:-4] for line in SIGNATURE.splitlines()))
    library("plugin", ["-Wl,-z,noseparate-code", "-Wl,--build-id=none"])
    library("aligned", ["-Wl,-z,norelro", "-Wl,--hash-style=sysv", "-Wl,-z,noseparate-code"])
    library("other", ["-Wl,-z,noseparate-code"], symbol="other")


main()
