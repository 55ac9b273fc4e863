"""Rebuilds the vendored atlases of this folder from their public packages.

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0 numpy==2.4.6
    npm pack emoji-datasource-google@16.0.0            && tar xzf emoji-datasource-google-16.0.0.tgz    # -> package/
    apt-get download iso-flags-png-320x240 dataset-fashion-mnist fonts-dejavu-core                        # Debian 12
    for deb in *.deb; do dpkg-deb -x $deb debian; done                                                    # -> debian/
    pip download --no-deps easy-vqa==1.0               && unzip easy_vqa-1.0-py3-none-any.whl -d easy_vqa_wheel
    venv/bin/python vendor.py FOLDER_WITH_ALL_THAT

What is cut and in which order follows catalogue.json. The sha256 of the packages that the shipped atlases came from are in README.md.
"""
import gzip, json, sys
from pathlib import Path
import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
SOURCE = Path(sys.argv[1])
CATALOGUE = json.loads((HERE / "catalogue.json").read_text())


def atlas(tiles, columns, name, mode):
    """Tiles of one size, row by row."""
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    sheet = Image.new(mode, (columns * width, rows * height))
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % columns * width, i // columns * height))
    sheet.save(HERE / name, optimize=True)


def emoji(code):
    """One emoji, cut to its opaque part, enlarged to touch the borders of a 64x64 tile, centred."""
    picture = Image.open(SOURCE / "package/img/google/64" / f"{code.lower()}.png").convert("RGBA")
    picture = picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 24)).getbbox())
    scale = 64 / max(picture.size)
    picture = picture.resize([max(1, round(s * scale)) for s in picture.size], Image.BICUBIC)
    tile = Image.new("RGBA", (64, 64))
    tile.paste(picture, ((64 - picture.width) // 2, (64 - picture.height) // 2))
    return tile


def flag(code):
    """One flag without its transparent border, 64x44."""
    picture = Image.open(next(SOURCE.glob(f"debian/**/{code}.png"))).convert("RGBA")
    picture = picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 200)).getbbox())
    return picture.resize((64, 44), Image.BICUBIC)


def idx(path):
    """An IDX file of bytes (the MNIST format)."""
    data = gzip.open(path).read()
    shape = [int.from_bytes(data[4 + 4 * i:8 + 4 * i], "big") for i in range(data[3])]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def garments(split, count, name):
    """Fashion-MNIST, class by turns: tile i shows class i % 10."""
    base = next(p.parent for p in SOURCE.glob("debian/**/train-images-idx3-ubyte.gz"))
    pictures, labels = idx(base / f"{split}-images-idx3-ubyte.gz"), idx(base / f"{split}-labels-idx1-ubyte.gz")
    by_class = [list(np.flatnonzero(labels == c)) for c in range(10)]
    atlas([Image.fromarray(pictures[by_class[i % 10][i // 10]]) for i in range(count)], 50, name, "L")


def shapes(split, count, name):
    """easy-vqa, by turns: tile i shows form (i % 24) // 8 in colour i % 8."""
    base = SOURCE / "easy_vqa_wheel/easy_vqa/data" / split
    forms, colors = CATALOGUE["shape_forms"], CATALOGUE["shape_colors"]
    seen = {}
    for question, answer, image in json.loads((base / "questions.json").read_text()):
        facts = seen.setdefault(image, {})
        if answer in forms:
            facts["form"] = answer
        if answer in colors:
            facts["color"] = answer
    groups = {}
    for image in sorted(seen):
        pixels = np.asarray(Image.open(base / "images" / f"{image}.png").convert("RGB")).astype(int)
        ink = (abs(pixels - pixels[0, 0]).sum(2) > 60).sum()
        if len(seen[image]) == 2 and ink >= 80:       # the smallest shapes are left out
            groups.setdefault((seen[image]["form"], seen[image]["color"]), []).append(image)
    wanted = [(forms[i % 24 // 8], colors[i % 8]) for i in range(count)]
    ids = [groups[key].pop(0) for key in wanted]
    atlas([Image.open(base / "images" / f"{i}.png").convert("RGB") for i in ids], 24, name, "RGB")


def glyphs():
    """Capitals in three bold faces, 40x40 tiles, cut to the letter's width at the left border; widths are read from the pixels."""
    tiles = []
    for face in ["DejaVuSans-Bold", "DejaVuSerif-Bold", "DejaVuSansMono-Bold"]:
        font = ImageFont.truetype(next(SOURCE.glob(f"debian/**/{face}.ttf")), 48)
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
            wide = Image.new("L", (80, 80))
            ImageDraw.Draw(wide).text((14, 10), letter, 255, font)
            left, _, right, _ = wide.getbbox()
            top = 10 + font.getmetrics()[0] - 37     # capitals are 35 pixels high above the baseline
            tile = wide.crop((left, top, left + 56, top + 56))
            assert right - left <= 56, letter
            tiles.append(tile.resize((40, 40), Image.BICUBIC))
    atlas(tiles, 26, "glyphs.png", "L")


atlas([emoji(entry["emoji"]) for entry in CATALOGUE["objects"] + CATALOGUE["genres"]], 8, "emoji.png", "RGBA")
atlas([flag(entry["code"]) for entry in CATALOGUE["flags"]], 6, "flags.png", "RGBA")
garments("train", 4000, "garments-train.png")
garments("t10k", 300, "garments-test.png")
shapes("train", 1296, "shapes-train.png")
shapes("test", 312, "shapes-test.png")
glyphs()
