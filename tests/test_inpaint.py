"Inference: any photo, any hole, hostile files, the command. What a notebook cannot show: many random cases, processes, memory."
import json, os, random, subprocess, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO, TextIOWrapper
from pathlib import Path
from time import sleep

import numpy as np, pytest, tifffile, torch
from scipy.ndimage import find_objects
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageFilter, ImageOps, PngImagePlugin

from safetensors.torch import save_file

from gla_inpaint import inference, weights
from gla_inpaint.blend import membrane
from gla_inpaint.crops import _thickness, find_crops, shrink
from gla_inpaint.discriminator import Discriminator
from gla_inpaint.data import sample_photos
from gla_inpaint.generator import Inpainter, composite
from gla_inpaint.masks import free_form_hole
from gla_inpaint.pictures import load_photo
from gla_inpaint.files import alpha_of, open_image, save_photo, to_network
from gla_inpaint.holes import read_hole
from gla_inpaint.inference import inpaint, main
from gla_inpaint.weights import InpaintError, load_inpainter, save_inpainter

torch.set_num_threads(1)
MODES = ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16')

def tiny(width=4, size=32, **kwargs):
    torch.manual_seed(0)
    net = Inpainter(width, **kwargs)
    net.size = size
    return net.eval()

NET = tiny()

def picture(mode, w, h, seed=0):
    "A picture of random pixels in any mode"
    rng = np.random.default_rng(seed)
    if mode == '1': return Image.fromarray(rng.random((h,w)) < .5)
    if mode == 'I;16': return Image.fromarray(rng.integers(0, 65536, (h,w), dtype=np.uint16))
    channels = len(Image.new(mode, (1,1)).getbands())
    im = Image.frombytes(mode, (w,h), rng.integers(0, 7 if mode == 'P' else 256, (h,w,channels), dtype=np.uint8).tobytes())
    if mode == 'P': im.putpalette(rng.integers(0, 256, 21, dtype=np.uint8).tobytes())
    return im

def encoded(im, format='PNG', **kwargs):
    out = BytesIO()
    im.save(out, format, **kwargs)
    return out.getvalue()

def square(h, w, at=(2,2), side=4):
    hole = np.zeros((h,w), dtype=bool)
    hole[at[0]:at[0]+side, at[1]:at[1]+side] = True
    return hole

def known_equal(a, b, hole):
    a,b = np.asarray(a),np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a[~hole], b[~hole])

PHOTO,HOLE = picture('RGB', 40, 30),square(30, 40, side=8)

# --- photos

@st.composite
def cases(draw):
    mode,w,h,seed = draw(st.sampled_from(MODES)),draw(st.integers(1, 700)),draw(st.integers(1, 500)),draw(st.integers(0, 10**6))
    rng,hole = np.random.default_rng(seed),np.zeros((h,w), dtype=bool)
    for _ in range(draw(st.integers(0, 3))):
        y,x = rng.integers(0, h),rng.integers(0, w)
        hole[y:y+rng.integers(1, h+1), x:x+rng.integers(1, w+1)] = True
    hole[:40,:40] |= rng.random(hole[:40,:40].shape) < draw(st.sampled_from([0, .1, .6]))
    return mode,hole,seed

@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases())
def test_known_pixels_come_back_bit_for_bit(case):
    mode,hole,seed = case
    photo = picture(mode, *hole.shape[::-1], seed)
    before = np.array(photo)
    if not hole.any() or hole.all():
        with pytest.raises(InpaintError, match='nothing'): inpaint(photo, hole, NET)
        return
    out = inpaint(photo, hole, NET)
    assert out.mode == mode and out.size == photo.size and known_equal(out, before, hole)
    assert np.array_equal(np.array(photo), before), "the photo that was given is not written to"
    if mode == 'P': assert out.getpalette() == photo.getpalette() and np.asarray(out).max() < 7
    if mode in ('LA','RGBA'): assert np.array_equal(np.asarray(out)[...,-1], before[...,-1])

@pytest.mark.parametrize('w,h', [(2,1), (1,2), (2,2), (3,5), (7,4), (1,40)])
@pytest.mark.parametrize('size', [None, 32])
def test_small_photos(w, h, size):
    hole = np.zeros((h,w), dtype=bool)
    hole[0,0] = True
    photo = picture('RGB', w, h)
    assert known_equal(inpaint(photo, hole, tiny(size=size)), photo, hole)

def test_one_pixel_has_nothing_known():
    with pytest.raises(InpaintError, match='nothing is known'): inpaint(picture('RGB', 1, 1), np.ones((1,1), bool), NET)

def test_the_hole_alone_is_painted_and_what_lies_under_it_does_not_matter():
    photo = sample_photos()['coffee'].resize((150,100))
    hole = square(100, 150, (30,40), 30)
    a = np.asarray(inpaint(photo, hole, NET))
    other = np.array(photo); other[hole] = (255,0,255)
    assert np.array_equal(a, np.asarray(inpaint(other, hole, NET)))
    assert (a != np.asarray(photo)).any(-1)[hole].mean() > .9

@pytest.mark.parametrize('mode', MODES)
def test_every_way_to_give_a_photo(mode, tmp_path):
    photo,suffix = picture(mode, 40, 30),'.tif' if mode == 'CMYK' else '.png'
    file = tmp_path/f'a{suffix}'
    photo.save(file)
    expected = inpaint(photo, HOLE, NET)
    for src in (file, str(file), file.read_bytes(), Image.open(file)):
        out = inpaint(src, HOLE, NET)
        assert out.mode == mode and np.array_equal(np.asarray(out), np.asarray(expected))

@pytest.mark.parametrize('shape', [(30,40), (30,40,1), (30,40,2), (30,40,3), (30,40,4)])
def test_arrays(shape):
    a = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    out = np.asarray(inpaint(a, HOLE, NET)).reshape(shape)
    assert np.array_equal(out[~HOLE], a[~HOLE])

@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_of_photo_and_hole(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = open_image(encoded(PHOTO, exif=exif))
    assert upright.size == ((40,30) if orientation < 5 else (30,40))
    hole_file = encoded(Image.fromarray(HOLE), exif=exif)
    hole = read_hole(hole_file, upright.size)
    out = inpaint(encoded(PHOTO, exif=exif), hole_file, NET)
    assert known_equal(out, upright, hole) and hole.sum() == HOLE.sum()
    assert open_image(encoded(out)).size == out.size, "the result is not turned a second time"

def test_colour_profile_and_transparency_stay_and_exif_goes(tmp_path):
    exif = Image.Exif()
    exif[0x010e] = 'a thumbnail could be here'
    out = inpaint(encoded(PHOTO, icc_profile=b'profile', exif=exif), HOLE, NET)
    assert out.info == {'icc_profile': b'profile'}
    save_photo(out, tmp_path/'a.png')
    assert Image.open(tmp_path/'a.png').info['icc_profile'] == b'profile'
    palette = picture('P', 40, 30)
    out = inpaint(encoded(palette, transparency=2), HOLE, NET)
    assert out.info['transparency'] == 2 and np.array_equal(np.asarray(out) == 2, np.asarray(palette) == 2)

def seen(im): return np.asarray(im.convert('RGBA'))[...,3]

def test_what_is_transparent_in_a_palette_stays_so_in_the_hole():
    photo = picture('P', 40, 30)
    alphas = bytes([255, 0, 128, 255, 0, 255, 128])
    photo = Image.open(BytesIO(encoded(photo, transparency=alphas)))
    out = inpaint(photo, HOLE, NET)
    assert np.array_equal(seen(out), seen(photo)) and out.info['transparency'] == alphas
    assert (np.asarray(out) != np.asarray(photo))[HOLE].any()

@pytest.mark.parametrize('mode, key', [('L', 7), ('RGB', (7,7,7)), ('I;16', 257), ('1', 0), ('1', 255)])
def test_the_colour_that_stands_for_transparent_stays_where_it_was(mode, key):
    "PNG's tRNS: neither is what was transparent painted over, nor does a painted pixel become transparent by chance"
    grey = np.full((30,40), 200, np.uint8)
    grey[:,15:25] = 7
    photo = Image.fromarray(grey).convert(mode) if mode != 'I;16' else Image.fromarray(grey.astype(np.uint16)*257)
    if mode == 'I;16': key = 7*257
    if mode == '1': photo = Image.fromarray(grey > 100)
    photo,there = Image.open(BytesIO(encoded(photo, transparency=key))),grey == 7
    clear = there if key in (0, 7, (7,7,7), 7*257) else ~there
    for painted in (-.95, -.945, -.9451, 1.):                              # among them 7 of 255
        net = Paints(32, lambda x: torch.full_like(x, painted))
        out = inpaint(photo, square(30, 40, (5,5), 20), net)
        again = Image.open(BytesIO(encoded(out, transparency=out.info['transparency'])))
        assert np.array_equal(alpha_of(again) == 0, clear)

def cut_out(colour):
    "A grey disc, and a colour stored where nothing is seen"
    y,x = np.mgrid[:60,:60]-30
    disc = np.hypot(x, y) < 25
    return Image.fromarray(np.dstack([np.where(disc[...,None], 120, colour).astype(np.uint8), disc*np.uint8(255)])),disc

def test_colours_under_alpha_0_do_not_bleed_into_a_fill():
    hole = square(60, 60, (25,5), 14)
    fills = [np.asarray(inpaint(cut_out(c)[0], hole, NET)) for c in ((0,0,0), (255,0,255))]
    seen = hole & cut_out((0,0,0))[1]
    assert seen.sum() < hole.sum() and np.array_equal(fills[0][seen], fills[1][seen])
    assert np.abs(fills[0][seen][:,:3].astype(int)-120).max() < 20, "all that is known is one grey, and the membrane makes the fill agree with it"

def test_a_hole_in_an_island_finds_what_is_known_farther_off():
    clear = np.zeros((90,200,4), np.uint8)
    clear[40:44,20:24] = clear[40:60,150:190] = (50,100,150,255)
    out = np.asarray(inpaint(clear, square(90, 200, (40,20), 4), Paints(16, lambda x: torch.zeros_like(x))))
    assert np.abs(out[40:44,20:24,:3].astype(int) - (50,100,150)).max() <= 2 and np.array_equal(out[...,3], clear[...,3])

def test_holes_in_what_is_transparent():
    photo,disc = cut_out((0,0,0))
    with pytest.raises(InpaintError, match='would stay so'): inpaint(photo, (0,0,5,5), NET)
    with pytest.raises(InpaintError, match='outside the hole all of the photo is transparent'): inpaint(photo, disc, NET)

# --- what is kept beside the pixels

def stored(path): return Image.open(path).info

def test_transparency_is_not_lost_in_a_format_that_cannot_hold_it(tmp_path):
    palette,grey = picture('P', 40, 30),picture('L', 40, 30)
    grey.paste(7, (20,10,30,20))
    for photo,key in ((palette, 2), (palette, bytes([255,0,128])), (grey, 7), (grey.convert('RGB'), (7,7,7))):
        out = inpaint(encoded(photo, transparency=key), HOLE, NET)
        for suffix in ('.tif', '.jpg'):
            with pytest.raises(InpaintError, match='write a .png|as JPEG'): save_photo(out, tmp_path/f'a{suffix}')
        save_photo(out, tmp_path/'a.png')
        assert np.array_equal(seen(Image.open(tmp_path/'a.png')), seen(out))
    assert os.listdir(tmp_path) == ['a.png'], 'nothing half right is left behind'

@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_what_is_written_is_what_was_filled(mode, suffix, tmp_path):
    out = inpaint(picture(mode, 40, 30), HOLE, NET)
    if (mode, suffix) == ('CMYK', '.png'):
        with pytest.raises(InpaintError, match='a .tif takes every mode'): save_photo(out, tmp_path/'a.png')
        return
    save_photo(out, tmp_path/f'a{suffix}')
    assert np.array_equal(np.asarray(Image.open(tmp_path/f'a{suffix}')), np.asarray(out))

def test_a_writer_that_changes_pixels_is_found_out(tmp_path, monkeypatch):
    save = Image.Image.save
    monkeypatch.setattr(Image.Image, 'save', lambda im, fp, *args, **kwargs: save(im.point(lambda v: v^1), fp, *args, **kwargs))
    with pytest.raises(InpaintError, match='cannot keep the pixels'): save_photo(PHOTO, tmp_path/'a.png')
    assert not os.listdir(tmp_path)

@pytest.mark.parametrize('suffix', ['.png', '.tif', '.jpg'])
@pytest.mark.parametrize('fmt', ['PNG', 'TIFF', 'JPEG'])
def test_the_resolution_of_a_scan_is_kept(fmt, suffix, tmp_path):
    out = inpaint(encoded(PHOTO, fmt, dpi=(300,600)), HOLE, NET)
    save_photo(out, tmp_path/f'a{suffix}')
    assert np.allclose([float(d) for d in stored(tmp_path/f'a{suffix}')['dpi']], (300,600), atol=.1)
    none = inpaint(encoded(PHOTO, fmt), HOLE, NET)
    assert 'dpi' not in none.info, 'where nothing is said, nothing is made up'

def chunked(png, name, data):
    "A PNG with one more chunk before its pixels"
    at = png.index(b'IDAT')-4
    return png[:at] + len(data).to_bytes(4, 'big') + name + data + PngImagePlugin.o32(PngImagePlugin._crc32(name+data)) + png[at:]

GAMMA,WIDE,HDR = (1_00000).to_bytes(4, 'big'),b''.join(n.to_bytes(4, 'big') for n in (31270,32900,68000,32000,26500,69000,15000,6000)),bytes([9,16,0,1])

def test_colour_spaces_of_a_png_are_kept_in_a_png(tmp_path):
    photo = encoded(PHOTO)
    for name,data in ((b'gAMA', GAMMA), (b'cHRM', WIDE), (b'cICP', HDR), (b'sRGB', b'\1')): photo = chunked(photo, name, data)
    save_photo(inpaint(photo, HOLE, NET), tmp_path/'a.png')
    written = (tmp_path/'a.png').read_bytes()
    for name,data in ((b'gAMA', GAMMA), (b'cHRM', WIDE), (b'cICP', HDR), (b'sRGB', b'\1')): assert written.count(name+data) == 1, name
    with Image.open(tmp_path/'a.png') as im: im.load()

def test_the_colour_space_of_a_bright_avif_is_kept_in_a_png(tmp_path):
    avif = bytearray(encoded(PHOTO, 'AVIF'))
    at = avif.index(b'colrnclx')+8
    avif[at:at+4] = bytes([0,9,0,16])                                   # BT.2020 and PQ
    save_photo(inpaint(bytes(avif), HOLE, NET), tmp_path/'a.png')
    assert b'cICP\x09\x10\0\1' in (tmp_path/'a.png').read_bytes() and 'cicp' not in inpaint(encoded(PHOTO, 'AVIF'), HOLE, NET).info

@pytest.mark.parametrize('suffix', ['.tif', '.jpg'])
def test_a_colour_space_that_is_lost_is_one_warning(suffix, tmp_path):
    photo = chunked(chunked(encoded(PHOTO), b'gAMA', GAMMA), b'cICP', HDR)
    with pytest.warns(UserWarning, match='gamma and cicp of the photo are lost') as caught: save_photo(inpaint(photo, HOLE, NET), tmp_path/f'a{suffix}')
    assert len(caught) == 1

@pytest.mark.parametrize('fmt', ['GIF', 'WEBP', 'TIFF', 'PNG'])
def test_frames_and_pages_that_are_lost_are_one_warning(fmt):
    frames = [picture('RGB', 40, 30, i) for i in range(3)]
    data = encoded(frames[0], fmt, save_all=True, append_images=frames[1:], **(dict(lossless=True) if fmt == 'WEBP' else {}))
    with pytest.warns(UserWarning, match='3 frames or pages: the first alone') as caught: out = inpaint(data, HOLE, NET)
    assert len(caught) == 1 and out.size == (40,30)
    if fmt != 'GIF': assert known_equal(out, frames[0], HOLE)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        inpaint(encoded(frames[0], fmt), HOLE, NET)
        assert read_hole(encoded(Image.fromarray(HOLE).convert('L'), 'GIF', save_all=True, append_images=[Image.new('L', (40,30))]), (40,30)).any(), 'of a hole nothing is kept anyway'

def test_a_palette_gets_its_nearest_colour():
    photo = picture('P', 40, 30)
    colours = np.array(photo.getpalette()).reshape(-1, 3)
    rgb = inpaint(photo.convert('RGB'), HOLE, NET)
    wanted = np.abs(np.asarray(rgb)[HOLE][:,None].astype(float) - colours).__pow__(2).sum(-1)
    got = np.asarray(inpaint(photo, HOLE, NET))[HOLE]
    assert (wanted[np.arange(len(got)), got] <= wanted.min(1) + 200).all()      # the reference is rounded to 8 bits

def test_16_bits():
    photo = picture('I;16', 40, 30)
    out = inpaint(encoded(photo), HOLE, NET)
    assert out.mode == 'I;16' and known_equal(out, photo, HOLE)
    assert (np.asarray(out)[HOLE] % 257 != 0).any(), "painted with 16 bits, not with 8 spread out"
    rgb16 = bytearray(encoded(PHOTO))
    rgb16[24] = 16                                                      # bit depth in IHDR
    rgb16[29:33] = PngImagePlugin.o32(PngImagePlugin._crc32(bytes(rgb16[12:29])))
    with pytest.raises(InpaintError, match='16 bits per colour'): inpaint(bytes(rgb16), HOLE, NET)
    with pytest.raises(InpaintError, match='16 bits per colour'): inpaint(Image.open(BytesIO(rgb16)), HOLE, NET)

def test_16_bits_in_other_formats():
    a = np.random.default_rng(0).integers(0, 65536, (30,40,3)).astype('>u2')
    ppm,plain = b'P6 40 30 65535\n'+a.tobytes(),b'P3 40 30 65535\n'+' '.join(map(str, a.ravel())).encode()
    jp2 = bytearray(encoded(PHOTO, 'JPEG2000'))
    at = jp2.index(b'\xff\x4f\xff\x51')+40
    assert jp2[at:at+4] == bytes([0,3,7,1]), "three colours of 7+1 bits, each with a step of 1"
    assert known_equal(inpaint(bytes(jp2), HOLE, NET), open_image(bytes(jp2)), HOLE)
    jp2[at+5] = 15                                                      # the second colour
    for data in (ppm, plain, bytes(jp2)):
        with pytest.raises(InpaintError, match='16 bits per colour'): inpaint(data, HOLE, NET)
    drawn = b'P6 40 30 65535\n'+np.repeat(HOLE[...,None]*np.array(65535, '>u2'), 3, -1).tobytes()
    assert np.array_equal(read_hole(drawn, (40,30)), HOLE), "a hole is cut at one half anyway"
    grey = encoded(picture('I;16', 40, 30), 'JPEG2000')
    assert inpaint(grey, HOLE, NET).mode == 'I;16'

@pytest.mark.parametrize('bits, flag', [(10, 0x40), (12, 0x60)])
def test_avif_of_10_and_12_bits_is_not_cut(bits, flag):
    avif = bytearray(encoded(PHOTO, 'AVIF'))
    assert known_equal(inpaint(bytes(avif), HOLE, NET), open_image(bytes(avif)), HOLE)
    at = avif.index(b'av1C')+6
    assert avif[at] & 0x60 == 0
    avif[at] |= flag
    at = avif.index(b'pixi')+9
    assert avif[at:at+3] == bytes([8,8,8])
    avif[at:at+3] = bytes([bits])*3
    for src in (bytes(avif), Image.open(BytesIO(avif))):
        with pytest.raises(InpaintError, match=f'{bits} bits per colour.*save it with 8 bits'): inpaint(src, HOLE, NET)

def tiff(x, **kwargs): out = BytesIO(); tifffile.imwrite(out, x, **kwargs); return out.getvalue()

def test_planes_of_16_bits_are_refused():
    x = np.random.default_rng(0).integers(0, 65536, (3,30,40)).astype(np.uint16)
    for kwargs in ({}, dict(compression='zlib')):
        with pytest.raises(InpaintError, match='16 bits'): inpaint(tiff(x, planarconfig='separate', photometric='rgb', **kwargs), HOLE, NET)
    eight = (x >> 8).astype(np.uint8)
    assert known_equal(inpaint(tiff(eight, planarconfig='separate', photometric='rgb'), HOLE, NET), np.moveaxis(eight, 0, 2), HOLE)

def test_a_negative_of_16_bits_comes_back_as_it_is_seen():
    x = np.asarray(picture('I;16', 40, 30))
    out = inpaint(tiff(65535-x, photometric='miniswhite'), HOLE, NET)
    assert out.mode == 'I;16' and known_equal(out, x, HOLE)

def test_numbers_of_32_bits_are_refused_with_advice_that_helps():
    x = np.asarray(picture('I;16', 40, 30)).astype(np.int32)
    for bad in (Image.fromarray(x), tiff(x, photometric='minisblack'), tiff(x.astype(np.float32), photometric='minisblack'), tiff((x-32768).astype(np.int16), photometric='minisblack')):
        with pytest.raises(InpaintError, match='scale them to 0 to 65535'): inpaint(bad, HOLE, NET)
    scaled = Image.fromarray((x/x.max()*65535).astype(np.uint16))
    assert inpaint(scaled, HOLE, NET).mode == 'I;16', "what the message says can be done"

def test_a_photo_with_careless_exif_is_turned_as_in_training():
    "A tag that must be a number is a text, which Pillow reads and cannot write again. Only the orientation matters."
    exif = Image.Exif()
    exif[0x010e],exif[0x0112] = 'text',6
    data = bytearray(encoded(PHOTO, 'WEBP', exif=exif, lossless=True))
    data[data.index(b'\x01\x0e\x00\x02')+1] = 0x1a                      # 0x011a, the resolution
    pytest.raises(Exception, ImageOps.exif_transpose, Image.open(BytesIO(data)))
    assert np.array_equal(open_image(bytes(data)), load_photo(bytes(data))) and open_image(bytes(data)).size == (30,40)

def test_out_of_memory_is_not_damage(monkeypatch):
    def full(self): raise MemoryError
    monkeypatch.setattr(PngImagePlugin.PngImageFile, 'load', full)
    with pytest.raises(MemoryError): open_image(encoded(PHOTO))

@pytest.mark.parametrize('bad', [b'', b'not a picture', encoded(PHOTO)[:200], Image.new('F', (40,30)), Image.new('I', (40,30)), Image.new('YCbCr', (40,30)), Image.new('RGB', (0,5)),
    np.zeros((30,40), np.int64), np.zeros((30,40,3)), np.zeros((2,30,40,3), np.uint8), np.zeros(7, np.uint8), torch.zeros(30,40), None, 3],
    ids=lambda b: f'{type(b).__name__}')
def test_photos_that_are_refused(bad):
    with pytest.raises(InpaintError) as e: inpaint(bad, HOLE, NET)
    assert '\n' not in str(e.value)

def test_bad_files_are_named(tmp_path):
    for name,data in (('empty.png', b''), ('half.jpg', encoded(PHOTO, 'JPEG')[:300]), ('text.png', b'Dear diary')):
        (tmp_path/name).write_bytes(data)
        with pytest.raises(InpaintError, match=name): inpaint(tmp_path/name, HOLE, NET)
        with pytest.raises(InpaintError, match=name): inpaint(PHOTO, tmp_path/name, NET)
    with pytest.raises(InpaintError, match='no file that can be read'): inpaint(tmp_path, HOLE, NET)
    with pytest.raises(InpaintError, match='no file that can be read'): inpaint(PHOTO, tmp_path, NET)
    with pytest.raises(FileNotFoundError, match='nowhere.png'): inpaint(tmp_path/'nowhere.png', HOLE, NET)
    with pytest.raises(FileNotFoundError, match='nowhere.png'): inpaint(PHOTO, str(tmp_path/'nowhere.png'), NET)

def test_decompression_bomb():
    bomb = bytearray(encoded(PHOTO))
    bomb[16:24] = PngImagePlugin.o32(60000)*2
    bomb[29:33] = PngImagePlugin.o32(PngImagePlugin._crc32(bytes(bomb[12:29])))
    for photo,hole in ((bytes(bomb), HOLE), (PHOTO, bytes(bomb))):
        with pytest.raises(InpaintError, match='MAX_IMAGE_PIXELS') as e: inpaint(photo, hole, NET)
        assert '\n' not in str(e.value)

@pytest.mark.filterwarnings('ignore:Image size')
def test_a_photo_above_the_pixel_limit_is_an_error(monkeypatch):
    "Pillow only warns, up to twice the limit."
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    with pytest.raises(InpaintError, match='40x30 are more than the 1000 pixels.*set PIL.Image.MAX_IMAGE_PIXELS higher'): inpaint(encoded(PHOTO), HOLE, NET)

# --- holes

@pytest.mark.parametrize('hole', [HOLE, HOLE*1., HOLE.astype(np.float16), (HOLE*255).astype(np.uint8), (HOLE*200).astype(np.uint8), np.stack([HOLE*255]*3, -1).astype(np.uint8), HOLE[...,None],
    (HOLE*65535).astype(np.uint16), Image.fromarray(HOLE), Image.fromarray(HOLE).convert('L'), Image.fromarray(HOLE).convert('RGB'), Image.fromarray(HOLE).convert('P'), Image.fromarray(HOLE).convert('CMYK'),
    encoded(Image.fromarray(HOLE)), encoded(Image.fromarray(HOLE).convert('L'), 'JPEG', quality=90), (2,2,10,10), [2,2,10,10], tuple(np.array([2,2,10,10]))],
    ids=lambda h: getattr(h, 'mode', str(getattr(h, 'dtype', type(h).__name__))))
def test_the_same_hole_in_every_form(hole): assert np.array_equal(read_hole(hole, (40,30)), HOLE)

def test_alpha_of_a_hole_is_laid_over_black():
    clear = np.full((30,40,4), 255, np.uint8)
    clear[...,3] = HOLE*255
    assert np.array_equal(read_hole(clear, (40,30)), HOLE)
    assert np.array_equal(read_hole(clear[...,2:], (40,30)), HOLE)

@pytest.mark.parametrize('name', sorted(sample_photos()))
@pytest.mark.parametrize('form', ['RGB', 'L', 'P', 'RGBA', 'file', 'I;16'])
def test_a_photo_is_not_taken_for_a_hole(name, form):
    "Swapped arguments, or the same folder twice"
    photo = sample_photos()[name].resize((160,120))
    hole = encoded(photo, 'JPEG') if form == 'file' else Image.fromarray(np.asarray(photo.convert('L')).astype(np.uint16)*257) if form == 'I;16' else photo.convert(form)
    with pytest.raises(InpaintError, match='looks like a photo. The photo comes first'): inpaint(PHOTO, hole, NET, resize_hole=True)

@pytest.mark.parametrize('ink, paper', [((255,255,255), (0,0,0)), ((255,255,0), (0,0,90)), ((0,255,0), (0,0,0)), ((255,160,255), (20,60,20)), ((200,200,200), (60,60,60))])
@pytest.mark.parametrize('quality', [30, 75, 95])
def test_drawings_in_two_tones_are_holes(ink, paper, quality):
    for seed in range(6):
        drawn = free_form_hole((200,300), seed=seed)
        im = Image.fromarray(np.where(drawn[...,None], ink, paper).astype(np.uint8))
        for src in (im, encoded(im, 'JPEG', quality=quality)): assert (read_hole(src, (300,200)) ^ drawn).mean() < .01

@pytest.mark.parametrize('soft', [1, 3, 6])
def test_a_soft_brush_is_a_hole(soft):
    for seed in range(6):
        drawn = free_form_hole((200,300), seed=seed)
        im = Image.fromarray(drawn).convert('L').filter(ImageFilter.GaussianBlur(soft))
        assert (read_hole(im, (300,200)) ^ drawn).mean() < .1

def test_a_hole_in_the_alpha_of_a_photo_is_offered():
    "A photo with a part erased is what some services take as a hole"
    erased = sample_photos()['coffee'].resize((160,120))
    erased.putalpha(Image.fromarray(~square(120, 160, (30,40), 30)).convert('L'))
    with pytest.raises(InpaintError, match='looks like a photo.*transparent part.*getchannel') as e: inpaint(erased.convert('RGB'), erased, NET)
    assert '\n' not in str(e.value)
    as_told = ImageOps.invert(erased.convert('RGBA').getchannel('A'))
    assert np.array_equal(read_hole(as_told, (160,120)), square(120, 160, (30,40), 30))
    black_ink = Image.new('RGBA', (160,120)); black_ink.paste((0,0,0,255), (30,40,60,70))
    with pytest.raises(InpaintError, match='nothing to fill.*getchannel'): inpaint(erased.convert('RGB'), black_ink, NET)

def test_greys_are_cut_at_one_half():
    assert read_hole(np.array([[127,128]], np.uint8), (2,1)).tolist() == [[False,True]]
    assert read_hole(np.array([[.49,.5]]), (2,1)).tolist() == [[False,True]]

def test_boxes_are_x_before_y():
    assert np.argwhere(read_hole((1,0,3,1), (4,2))).tolist() == [[0,1],[0,2]]

@pytest.mark.parametrize('hole,why', [(HOLE.astype(np.uint8), '255'), (Image.fromarray(HOLE.astype(np.uint8)), '255'), (HOLE*np.nan, 'NaN'), (HOLE*255., '0 and 1'), (HOLE-1., '0 and 1'), (np.where(HOLE, np.inf, 0.), '0 and 1'),
    (np.zeros_like(HOLE), 'nothing to fill'), ((HOLE*100).astype(np.uint8), 'nothing to fill'), (np.ones_like(HOLE), 'nothing is known'), ((0,0,40,30), 'nothing is known'),
    ((2,2,41,10), 'box'), ((5,2,5,10), 'box'), ((-1,2,5,10), 'box'), ((2,20,10,31), 'box'), (HOLE[::2], '40x15 and the photo 40x30'), (HOLE.T, '30x40 and the photo 40x30'),
    (HOLE.astype(np.int64), 'int64'), (np.zeros((0,0)), 'array'), (torch.ones(30,40), 'Tensor'), ((1.5,2,3,4), 'tuple'), (None, 'NoneType'), (b'', 'bytes'),
    (HOLE.tolist(), 'list is no hole'), ([(2,2,10,10)]*4, 'box'), ((2,2,10), 'box'), (True, 'bool is no hole')], ids=str)
def test_holes_that_are_refused(hole, why):
    with pytest.raises(InpaintError, match=why) as e: inpaint(PHOTO, hole, NET)
    assert '\n' not in str(e.value)

def test_resize_hole():
    half = Image.fromarray(HOLE).resize((20,15), Image.Resampling.NEAREST)
    out = inpaint(PHOTO, half, NET, resize_hole=True)
    assert known_equal(out, PHOTO, np.asarray(half.resize((40,30), Image.Resampling.NEAREST)))

# --- crops

@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 10**6), st.sampled_from([.01, .1, .4, .8]), st.sampled_from([4, 16, 32, 200]))
def test_crops_paint_every_pixel_once(h, w, seed, share, size):
    rng = np.random.default_rng(seed)
    hole = np.kron(rng.random((h//9+1, w//9+1)) < share, np.ones((9,9), bool))[:h,:w] ^ (rng.random((h,w)) < .01)
    if not hole.any() or hole.all(): return
    count = np.zeros(hole.shape, int)
    for (l,t,r,b),own in find_crops(hole, size):
        assert own.shape == (b-t,r-l) and own.any() and not hole[t:b,l:r].all()
        count[t:b,l:r] += own
    assert np.array_equal(count, hole)

def test_a_thousand_specks_of_dust_share_crops():
    "A scan of 12 megapixels. A grid of full squares would take 188, and one crop for each speck a thousand."
    dust,rng = np.zeros((3000,4000), bool),np.random.default_rng(0)
    for y,x,s in zip(rng.integers(0, 2990, 1000), rng.integers(0, 3990, 1000), rng.integers(1, 10, 1000)): dust[y:y+s, x:x+s] = True
    crops = list(find_crops(dust, 256))
    assert len(crops) < 350 and all((r-l, b-t) == (256,256) for (l,t,r,b),_ in crops)
    assert sum(own.sum() for _,own in crops) == dust.sum()

@pytest.mark.parametrize('gap', [0, 20, 60, 100, 150, 200])
def test_specks_that_share_a_crop_have_as_much_around_them_as_alone(gap):
    hole = square(400, 800, (200,300), 10) | square(400, 800, (200,300+10+gap), 10)
    crops = list(find_crops(hole, 128))
    assert len(crops) == (1 if gap <= 128-40 else 2)
    for (l,t,r,b),own in crops:
        y,x = np.nonzero(own)
        assert min(x.min(), y.min(), r-l-1-x.max(), b-t-1-y.max()) >= 9

@pytest.mark.parametrize('shape', [(256, 256), (170, 256), (256, 100), (60, 90)])
def test_a_photo_no_larger_than_a_crop_is_filled_in_one_go(shape):
    "Holes of any size, at any place: the network would see the same picture for each"
    h,w = shape
    hole = np.zeros(shape, bool)
    for y,x,n in (.1, .1, 5), (.8, .1, 9), (.1, .8, 5), (.3, .2, 30), (.6, .6, 20): hole[int(y*h):int(y*h)+n, int(x*w):int(x*w)+n] = True
    (box,own), = find_crops(hole, 256)
    assert box == (0, 0, w, h) and np.array_equal(own, hole)

def test_a_long_stroke_is_cut_into_pieces_and_a_thick_hole_is_not():
    y,x = np.mgrid[:1000,:1400]
    wire,border = abs(y-100-.5*x) < 3,x < 60
    for hole,side in (wire, 256), (square(1000, 1400, (300,300), 300), 900), (square(1000, 1400, (300,300), 86), 258), (border, 1002):
        count = np.zeros(hole.shape, int)
        for (l,t,r,b),own in find_crops(hole, 256):
            assert r-l <= side and b-t <= side and not hole[t:b,l:r].all()
            count[t:b,l:r] += own
        assert np.array_equal(count, hole)
    # what lies beyond the photo is not known, so the band at its border is 120 thick
    assert len(list(find_crops(border, 256))) <= 2 and 10 < len(list(find_crops(wire, 256))) < 20

@pytest.mark.parametrize('size, every, phase', [(1100,2,0), (1100,2,1), (2048,4,0), (2048,4,1), (2048,4,3)])
def test_the_teeth_of_a_comb_are_thin_wherever_they_lie(size, every, phase):
    "Interlaced lines that a scratch joins: a hole that is large and nowhere thick"
    hole = np.zeros((size,size), bool)
    hole[:,0] = hole[phase::every] = True
    assert all(max(r-l, b-t) <= 260 for (l,t,r,b),_ in find_crops(hole, 256))

def test_a_disc_is_as_thick_as_it_is_wide_at_every_size():
    for r in (40, 300, 700):
        y,x = np.ogrid[:1500,:1500]
        disc = ((y-750)**2+(x-750)**2 < r*r).astype(int)
        assert abs(_thickness(disc, 1, find_objects(disc)[0])-2*r) < 8

@pytest.mark.parametrize('shape', [(300,1), (3000,17), (1200,2)])
@pytest.mark.parametrize('turned', [False, True])
def test_a_ramp_goes_on_in_a_photo_of_one_column_or_row(shape, turned):
    photo = np.broadcast_to(np.linspace(0, 255, shape[0]).astype(np.uint8)[:,None], shape)
    hole = np.zeros(shape, bool)
    hole[shape[0]//6:shape[0]*2//3] = True
    if turned: photo,hole = photo.T,hole.T
    assert abs(np.asarray(inpaint(photo, hole, detail=False)).astype(int)-photo).max() < 8

def test_a_stroke_is_filled_at_the_photos_own_scale():
    net,photo = Watch(32),picture('RGB', 200, 100)
    y,x = np.mgrid[:100,:200]
    inpaint(photo, abs(y-20-.3*x) < 2, net)
    assert len(net.seen) > 10 and all(size == (1,3,32,32) for size,*_ in net.seen)

def test_far_holes_do_not_touch_each_other():
    photo = sample_photos()['china'].resize((320,214))
    a,b = square(214, 320, (20,20), 10),square(214, 320, (180,290), 12)
    both = np.asarray(inpaint(photo, a|b, NET))
    for one in (a, b): assert np.array_equal(both[one], np.asarray(inpaint(photo, one, NET))[one])

class Watch(torch.nn.Module):
    "Remembers what it was asked, and answers with mid grey"
    def __init__(self, size):
        super().__init__()
        self.weight,self.size,self.seen = torch.nn.Parameter(torch.zeros(1)),size,[]
    def forward(self, holed, mask):
        self.seen.append((tuple(holed.shape), mask, torch.is_inference_mode_enabled(), self.training))
        return (torch.zeros_like(holed),)*2

@pytest.mark.parametrize('size,side,seen', [(96,200,96), (96,10,96), (None,100,300), (None,250,512)])
def test_the_network_sees_its_own_scale(size, side, seen):
    net = Watch(size)
    inpaint(picture('RGB', 900, 800), square(800, 900, (200,300), side), net)
    assert [s for s,*_ in net.seen] == [(1,3,seen,seen)]
    mask = net.seen[0][1]
    assert set(mask.unique().tolist()) == {0.,1.} and mask[0,0,seen//2,seen//2] == 0 and mask[0,0,0,0] == 1
    assert abs((mask == 0).sum().sqrt() - (10 if side == 10 else seen/3)) < 2, "three times the hole, but no less than the network's size"

class Paints(Watch):
    "Paints what a function says, from the places x in [0,1] along the width"
    def __init__(self, size, f):
        super().__init__(size)
        self.f = f
    def forward(self, holed, mask): return (self.f((torch.arange(holed.shape[-1])+.5)/holed.shape[-1]).expand_as(holed),)*2

def test_scaling_up_is_smooth_and_never_wraps_around():
    hole,ramp = square(300, 300, (100,100), 100),np.linspace(0, 255, 300)
    photo = np.stack([np.tile(ramp.round().astype(np.uint8), (300,1))]*3, -1)
    for painter in (lambda x: 2*x-1, lambda x: 2*x-.6, lambda x: x-2):
        row = np.asarray(inpaint(photo, hole, Paints(48, painter)))[150,:,0].astype(int)
        assert np.abs(row-ramp)[100:200].max() <= 2, "a ramp stays a ramp, also one that was painted too bright, or too flat"
    step = np.where(np.arange(300)[:,None] < 150, 0, 255).astype(np.uint8).repeat(3, 1)
    out = np.asarray(inpaint(np.tile(step, (300,1,1)), hole, Paints(48, lambda x: torch.where(x < .5, -1., 1.))))
    assert (out[100:200,100:147] < 128).all() and (out[100:200,153:200] > 127).all(), "overshoot is cut, not wrapped"

# --- the rim

@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10**6), st.sampled_from([.1, .5, .95]))
def test_a_membrane(h, w, seed, share):
    rng = np.random.default_rng(seed)
    hole,x = rng.random((h,w)) < share,rng.normal(size=(h,w,3))
    if not hole.any() or hole.all(): return
    out = membrane(x, hole)
    assert np.array_equal(out[~hole], x[~hole]), "what is known is held"
    value,there = np.pad(out, ((1,1),(1,1),(0,0))),np.pad(np.ones((h,w,1)), ((1,1),(1,1),(0,0)))
    total,count = (a[:-2,1:-1]+a[2:,1:-1]+a[1:-1,:-2]+a[1:-1,2:] for a in (value, there))
    assert np.allclose(out[hole], (total/np.maximum(count, 1))[hole]), "each pixel is the mean of its neighbours"
    assert np.allclose(membrane(np.where(hole[...,None], np.nan, x), hole), out), "what lies under the hole is not read"
    assert np.allclose(membrane(np.full_like(x, .3), hole), .3), "a constant is kept"

@pytest.mark.parametrize('offset', [-1.5, -.2, .2, 1.5])
def test_a_constant_offset_is_taken_off_exactly(offset):
    photo,hole = sample_photos()['china'].crop((200,100,296,196)),square(96, 96, (30,20), 32)
    net = Answers(96)
    net.truth = to_network(photo) + offset
    assert np.abs(np.asarray(inpaint(photo, hole, net, detail=False)).astype(int) - np.asarray(photo)).max() <= 1

def rim_jump(a, hole):
    "Mean difference between neighbours of which one is painted"
    a = a.astype(float)
    return np.concatenate([np.abs(np.diff(a, axis=n))[np.diff(hole, axis=n)].ravel() for n in (0, 1)]).mean()

class Agrees(torch.nn.Module):
    "Another network, made to paint known pixels as they are: no error is seen at the rim, so none is corrected"
    def __init__(self, net):
        super().__init__()
        self.net,self.size = net,net.size
    def forward(self, holed, mask): return (composite(self.net(holed, mask)[1], holed, mask),)*2

@pytest.mark.parametrize('name', ['coffee', 'chelsea'])
def test_the_jump_at_the_rim_falls(name):
    "With the weights that ship, on photos that they were not trained on"
    net,photo,jumps = load_inpainter(device='cpu'),sample_photos()[name],[]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        hole = square(*np.asarray(photo).shape[:2], rng.integers(0, 220, 2), 60)
        jumps.append([rim_jump(np.asarray(inpaint(photo, hole, n, detail=False)), hole) for n in (net, Agrees(net))])
    with_rim,without = np.mean(jumps, 0)
    assert with_rim < .9*without

def test_a_small_photo_is_scaled_up_as_it_is_shaped():
    net = Watch(96)
    inpaint(picture('RGB', 40, 20), square(20, 40, (5,8), 4), net)
    assert net.seen[0][0] == (1,3,48,96)

def test_a_neighbouring_hole_is_unknown_too():
    photo,near,far = np.random.default_rng(0).integers(0, 256, (100,100,3), dtype=np.uint8),square(100, 100, (40,40), 4),square(100, 100, (40,50), 30)
    other = photo.copy(); other[far] = (255,0,255)
    assert len(list(find_crops(near|far, 32))) == 2
    assert np.array_equal(np.asarray(inpaint(photo, near|far, NET)), np.asarray(inpaint(other, near|far, NET)))

def test_a_pixel_is_known_where_half_of_it_is():
    mask = torch.ones(1,1,60,60); mask[...,:29] = 0
    img,m = shrink(torch.full((1,3,60,60), .5), mask, (6,6))
    assert m[0,0,0].tolist() == [0,0,0,1,1,1] and torch.allclose(img[...,3:], torch.tensor(.5))
    speckled = torch.zeros(1,1,60,60); speckled[...,::5,::5] = 1
    img,m = shrink(torch.full((1,3,60,60), .5), speckled, (6,6))
    assert m.any() and torch.allclose(img, torch.tensor(.5)), "little is known, but all of that is used"

class Answers(Watch):
    "Says black in the coarse picture, and in the refined one what the photo has as colours"
    def forward(self, holed, mask): return -torch.ones_like(holed),self.truth[..., :holed.shape[-2], :holed.shape[-1]]

@pytest.mark.parametrize('mode', MODES)
def test_a_network_that_knows_the_photo_gives_it_back(mode):
    "in and out of each mode, the right pixel at the right place, from the refined picture: at most one step of rounding"
    photo,net = picture(mode, 64, 64),Answers(64)
    if mode == 'CMYK': photo = photo.convert('RGB').convert('CMYK')                       # without black ink, as it is written
    net.truth = to_network(photo)
    out = inpaint(photo, square(64, 64, (10,20), 20), net, detail=False)
    assert np.abs(np.asarray(out).astype(int) - np.asarray(photo)).max() <= 1

# --- networks and weights

def test_mode_device_and_gradients_are_left_alone():
    net = tiny().train()
    net.coarse.eval()
    before = {k: v.clone() for k,v in net.state_dict().items()}
    inpaint(PHOTO, HOLE, net)
    assert net.training and net.refine.training and not net.coarse.training
    assert all(torch.equal(v, before[k]) for k,v in net.state_dict().items()) and all(p.requires_grad and p.grad is None and not p.is_inference() for p in net.parameters())
    watch = Watch(32).train()
    inpaint(PHOTO, HOLE, watch)
    assert watch.seen[0][2:] == (True,False) and watch.training
    with pytest.raises(InpaintError, match='NaN'): inpaint(PHOTO, HOLE, nan_net().train())

def test_threads_that_share_a_network_leave_its_mode_as_it_was():
    "As in a web server that fills photos while it trains"
    class Slow(Watch):
        def forward(self, holed, mask):
            sleep(.02)
            return super().forward(holed, mask)
    net = Slow(32).train()
    with ThreadPoolExecutor(4) as pool: outs = list(pool.map(lambda _: inpaint(PHOTO, HOLE, net).tobytes(), range(12)))
    assert net.training and len(net.seen) == 12 and len(set(outs)) == 1
    assert not any(training for *_,training in net.seen), 'none was ever asked in training mode'

def test_a_thread_may_borrow_twice():
    with inference.at_work(NET), inference.at_work(NET) as net: assert net is NET and not net.training

def nan_net():
    net = tiny()
    torch.nn.init.constant_(next(net.parameters()), float('nan'))
    return net

class FakeLearner:
    def __init__(self, model): self.model = model

def test_every_way_to_give_a_model(tmp_path):
    save_inpainter(FakeLearner(NET), tmp_path/'w.safetensors', 'a test')
    expected = np.asarray(inpaint(PHOTO, HOLE, NET))
    for model in (FakeLearner(NET), tmp_path/'w.safetensors', str(tmp_path/'w.safetensors')): assert np.array_equal(np.asarray(inpaint(PHOTO, HOLE, model, device='cpu')), expected)
    for bad in (3, [], FakeLearner(3)):
        with pytest.raises(InpaintError, match='no model'): inpaint(PHOTO, HOLE, bad)

@pytest.mark.parametrize('width,mpga,gla,size', [(4,True,True,96), (6,False,True,None), (8,True,False,32), (4,False,False,64)])
def test_weights_there_and_back(width, mpga, gla, size, tmp_path):
    net = tiny(width, size, mpga=mpga, gla=gla).to(memory_format=torch.channels_last)
    save_inpainter(net, tmp_path/'w.safetensors', 'a label')
    again = load_inpainter(tmp_path/'w.safetensors')
    assert (again.width, again.mpga, again.gla, again.size, again.label, again.training) == (width, mpga, gla, size, 'a label', False)
    for a,b in zip(net.state_dict().values(), again.cpu().state_dict().values()): assert torch.equal(a, b)
    assert [f.name for f in tmp_path.iterdir()] == ['w.safetensors'], "nothing temporary is left"
    for i,state in enumerate((net.state_dict(), {'model': net.state_dict(), 'opt': {'hypers': [1.]}})):
        torch.save(state, tmp_path/f'{i}.pth')
        again = load_inpainter(tmp_path/f'{i}.pth', 'cpu')
        assert (again.width, again.mpga, again.gla, again.size) == (width, mpga, gla, None)

def test_metadata_is_all_strings(tmp_path):
    save_inpainter(NET, tmp_path/'w.safetensors', 'a label')
    data = (tmp_path/'w.safetensors').read_bytes()
    header = json.loads(data[8:8+int.from_bytes(data[:8], 'little')])
    about = header['__metadata__']
    assert json.loads(about.pop('settings')) == dict(width=4, mpga=True, gla=True, candidates='known', scale=50.)
    assert about == dict(net='gla', width='4', mpga='True', gla='True', candidates='known', scale='50.0', size='32', label='a label')
    with pytest.raises(InpaintError, match='safetensors'): save_inpainter(NET, tmp_path/'w.pth')

def test_a_fastai_learner_and_its_saved_file(tmp_path):
    from fastai.learner import Learner
    from fastai.data.core import DataLoaders
    learn = Learner(DataLoaders([], []), tiny(), loss_func=torch.nn.L1Loss(), path=tmp_path)
    learn.create_opt()
    expected = np.asarray(inpaint(PHOTO, HOLE, learn))
    for name,with_opt in (('bare', False), ('full', True)):
        net = load_inpainter(learn.save(name, with_opt=with_opt), 'cpu')
        net.size = 32
        assert np.array_equal(np.asarray(inpaint(PHOTO, HOLE, net)), expected)
    torch.save(learn.model, tmp_path/'export.pkl')  # objects, not numbers: what learn.export writes
    with pytest.raises(InpaintError, match='.safetensors or .pth'): load_inpainter(tmp_path/'export.pkl')
    os.rename(tmp_path/'export.pkl', tmp_path/'export.pth')
    with pytest.raises(InpaintError, match='more than weights'): load_inpainter(tmp_path/'export.pth')

class Trap:
    def __init__(self, path): self.path = str(path)
    def __reduce__(self): return os.mkdir, (self.path,)

def test_a_file_gets_its_name_when_it_is_on_the_disk(tmp_path, monkeypatch):
    file,done,fsync,replace = tmp_path/'a.png',[],os.fsync,os.replace
    def flush(fd): done.append(os.fstat(fd).st_ino); fsync(fd)
    def rename(a, b): done.append('rename'); replace(a, b)
    monkeypatch.setattr(os, 'fsync', flush); monkeypatch.setattr(os, 'replace', rename)
    with weights.replacing(file) as tmp: tmp.write_bytes(b'new')
    assert done == [file.stat().st_ino, 'rename', tmp_path.stat().st_ino] and file.read_bytes() == b'new'
    def full(fd): raise OSError('disk full')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='disk full'):
        with weights.replacing(file) as tmp: tmp.write_bytes(b'newer')
    assert file.read_bytes() == b'new' and os.listdir(tmp_path) == ['a.png']

@pytest.mark.parametrize('name', ['a'*249+'.png', 'é'*124+'a.png', 'a.'+'b'*251])
def test_a_name_as_long_as_the_disk_allows(tmp_path, name):
    assert len(os.fsencode(name)) == 253
    with weights.replacing(tmp_path/name) as tmp: tmp.write_bytes(b'new')
    assert (tmp_path/name).read_bytes() == b'new' and os.listdir(tmp_path) == [name]

def test_temporary_names_are_ours_alone(tmp_path):
    "rsync writes .123-photo.png.Xy12ab beside a photo, an editor .photo.png.swp. Ours differ from both, and from each other."
    with weights.replacing(tmp_path/'a.png') as one, weights.replacing(tmp_path/'a.png') as two:
        assert one != two and all(t.name.startswith('.gla-') and t.suffix == '.png' for t in (one, two))
        for t in (one, two): t.write_bytes(t.name.encode())
    assert (tmp_path/'a.png').read_bytes() == one.name.encode() and os.listdir(tmp_path) == ['a.png']

def test_where_weights_can_be_saved(tmp_path):
    save_inpainter(NET, tmp_path/'new/folder/w.safetensors')
    assert load_inpainter(tmp_path/'new/folder/w.safetensors').width == 4
    (tmp_path/'file').write_text('in the way')
    with pytest.raises(OSError, match='file is a file'): save_inpainter(NET, tmp_path/'file/w.safetensors')
    (tmp_path/'folder.safetensors').mkdir()
    with pytest.raises(OSError, match='cannot be written'): save_inpainter(NET, tmp_path/'folder.safetensors')
    for other in (NET.state_dict(), torch.nn.Linear(2,2), None):
        with pytest.raises(InpaintError, match='no Inpainter'): save_inpainter(other, tmp_path/'w.safetensors')
    assert sorted(os.listdir(tmp_path)) == ['file', 'folder.safetensors', 'new'] and not os.listdir(tmp_path/'folder.safetensors')

def test_an_empty_name_is_not_the_weights_of_the_package():
    with pytest.raises(InpaintError): load_inpainter('')

def test_hostile_and_wrong_weights(tmp_path):
    trap = tmp_path/'sprung'
    state = tiny().state_dict()
    lying = {k: v for k,v in state.items()} | {next(iter(state)): torch.zeros(8,4,5,5)}
    files = dict(trap={'model': Trap(trap)}, trap2=dict(state, extra=Trap(trap)), other=torch.nn.Linear(2,2).state_dict(), lying=lying, tensor=torch.zeros(3), lists=[1,2], ints={k: v.int() for k,v in state.items()},
                 few=dict(list(state.items())[:-1]), numbers={k: 1. for k in state}, flat={k: v.flatten() for k,v in state.items()}, nan=nan_net().state_dict())
    for name,content in files.items():
        torch.save(content, tmp_path/f'{name}.pth')
        with pytest.raises(InpaintError, match=name) as e: load_inpainter(tmp_path/f'{name}.pth')
        assert '\n' not in str(e.value)
    assert not trap.exists()
    save_inpainter(nan_net(), tmp_path/'nan.safetensors')
    with pytest.raises(InpaintError, match='NaN'): load_inpainter(tmp_path/'nan.safetensors')
    for name,data in (('empty.safetensors', b''), ('text.safetensors', b'Dear diary'), ('text.pth', b'Dear diary'), ('w.zip', b'')):
        (tmp_path/name).write_bytes(data)
        with pytest.raises(InpaintError, match=name): load_inpainter(tmp_path/name)
    with pytest.raises(FileNotFoundError, match='nowhere'): load_inpainter(tmp_path/'nowhere.safetensors')
    with pytest.raises(InpaintError): load_inpainter(tmp_path)

def test_a_module_without_weights_is_no_network():
    with pytest.raises(InpaintError, match='a ReLU has no weights and fills nothing'): inpaint(PHOTO, HOLE, torch.nn.ReLU())

def test_a_device_that_keeps_no_numbers_is_none():
    net = tiny()
    with pytest.raises(InpaintError, match="there is no device 'meta'"): inpaint(PHOTO, HOLE, net, device='meta')
    assert inpaint(PHOTO, HOLE, net) == inpaint(PHOTO, HOLE, NET), 'and the network still has its weights'

@pytest.mark.parametrize('args', [['', 'h.png', '-o', 'o.png'], ['p.png', '', '-o', 'o.png'], ['p.png', 'h.png', '-o', ''], ['p.png', 'h.png', '-o', 'o.png', '--weights', '']])
def test_an_empty_path_is_a_variable_that_is_not_set(args, capsys):
    with pytest.raises(SystemExit): main(args)
    assert 'is empty: is a variable not set?' in capsys.readouterr().err

@pytest.mark.parametrize('prefix', ['module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_weights_of_a_compiled_or_distributed_network(prefix, suffix, tmp_path):
    state,file = {prefix+k: v.contiguous() for k,v in NET.state_dict().items()},tmp_path/f'w{suffix}'
    if suffix == '.pth': torch.save(state, file)
    else: save_file(state, file)
    again = load_inpainter(file, 'cpu')
    assert all(torch.equal(a, b) for a,b in zip(NET.state_dict().values(), again.state_dict().values(), strict=True))

def test_weights_of_a_network_of_which_parts_are_compiled(tmp_path):
    torch.save({k.replace('coarse.', 'coarse._orig_mod.'): v for k,v in NET.state_dict().items()}, tmp_path/'w.pth')
    assert load_inpainter(tmp_path/'w.pth', 'cpu').width == 4

def test_a_checkpoint_is_not_weights_and_says_where_they_are(tmp_path):
    torch.save(dict(nets=[NET.state_dict()], opts=[], epoch=3), tmp_path/'00000012-abc.pt')
    with pytest.raises(InpaintError, match='checkpoint.*last.safetensors or best.safetensors'): load_inpainter(tmp_path/'00000012-abc.pt')
    with pytest.raises(InpaintError, match='is a folder: give a file in it'): load_inpainter(tmp_path)

def test_a_discriminator_is_not_weights_for_filling(tmp_path):
    save_file(Discriminator().state_dict(), tmp_path/'last_d.safetensors')
    with pytest.raises(InpaintError, match="discriminator's"): load_inpainter(tmp_path/'last_d.safetensors')

def test_weights_that_claim_more_than_they_bring(tmp_path):
    "One number, said to be 150 GB of them"
    with torch.device('meta'): shapes = Inpainter(3000).state_dict()
    torch.save({k: torch.zeros(1).as_strided(v.shape, [0]*v.dim()) for k,v in shapes.items()}, tmp_path/'w.pth')
    with pytest.raises(InpaintError, match='more than the file holds'): load_inpainter(tmp_path/'w.pth')

@pytest.mark.parametrize('device', ['abacus', 'cuda:77', ''])
def test_a_device_that_is_not_there(device, tmp_path):
    save_inpainter(NET, tmp_path/'w.safetensors')
    for model in (NET, tmp_path/'w.safetensors'):
        with pytest.raises(InpaintError, match='device'): inpaint(PHOTO, HOLE, model, device=device)
    assert next(NET.parameters()).device.type == 'cpu'

def test_device_auto(tmp_path, monkeypatch):
    for cuda,mps,expected in ((True,True,'cuda'), (False,True,'mps'), (False,False,'cpu')):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda); monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: mps)
        assert weights.pick_device('auto') == expected

@pytest.mark.parametrize('size', ['7', '99999999', 'wide', '-96', ''])
def test_a_lying_size(size, tmp_path):
    save_file({k: v.contiguous() for k,v in NET.state_dict().items()}, tmp_path/'w.safetensors', {'size': size})
    with pytest.raises(InpaintError): load_inpainter(tmp_path/'w.safetensors')

def test_default_weights():
    assert load_inpainter().label
    assert known_equal(inpaint(PHOTO, HOLE), PHOTO, HOLE)

def test_default_weights_are_verified(tmp_path, monkeypatch):
    "Other weights under the shipped name, or none, are refused by default, and may be asked for by name."
    monkeypatch.setattr(weights, 'DEFAULT_WEIGHTS', tmp_path/'default.safetensors')
    with pytest.raises(InpaintError, match='not the file'): inpaint(PHOTO, HOLE)
    save_inpainter(NET, tmp_path/'default.safetensors')
    with pytest.raises(InpaintError, match='not the file'): load_inpainter()
    assert load_inpainter(tmp_path/'default.safetensors').size == 32

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_cuda(tmp_path):
    save_inpainter(NET, tmp_path/'w.safetensors')
    assert next(load_inpainter(tmp_path/'w.safetensors').parameters()).is_cuda
    cpu,gpu = (np.asarray(inpaint(PHOTO, HOLE, NET, device=d)).astype(int) for d in ('cpu', 'cuda'))
    assert np.abs(cpu-gpu).max() <= 8 and not next(NET.parameters()).is_cuda
    assert known_equal(inpaint(PHOTO, HOLE, tmp_path/'w.safetensors'), PHOTO, HOLE)

# --- damaged files

def damaged(data, rng):
    "Cut a file short, or change some of its bytes"
    if rng.random() < .3: return data[:rng.randrange(len(data))]
    data,end = bytearray(data),rng.choice([60, len(data)])       # half of the time in the header
    for _ in range(rng.choice([1, 3, 20])): data[rng.randrange(min(end, len(data)))] = rng.randrange(256)
    return bytes(data)

def try_damaged(n):
    rng = random.Random(n)
    photos = [encoded(PHOTO, f, **kw) for f,kw in (('PNG',{}), ('JPEG',{}), ('TIFF',{}), ('TIFF',dict(compression='tiff_lzw')), ('BMP',{}), ('GIF',{}), ('WEBP',{}), ('PPM',{}), ('JPEG2000',{}))]
    photos += [encoded(picture(m, 40, 30), 'PNG') for m in ('P','I;16','1','LA')] + [encoded(picture('CMYK', 40, 30), 'JPEG'), encoded(PHOTO, 'JPEG', exif=Image.Exif())]
    holes,outcomes = [encoded(Image.fromarray(HOLE), f) for f in ('PNG','TIFF','BMP')] + [encoded(Image.fromarray(HOLE).convert('L'), 'JPEG')],[]
    for i in range(n):
        photo,hole = (damaged(rng.choice(photos), rng),HOLE) if i%3 else (PHOTO,damaged(rng.choice(holes), rng))
        try: inpaint(photo, hole, NET); outcomes.append(True)
        except InpaintError as e:
            assert '\n' not in str(e)
            outcomes.append(False)
    assert any(outcomes) and not all(outcomes)

@pytest.mark.filterwarnings('ignore')
def test_500_damaged_files(): try_damaged(500)

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_damaged_weights(suffix, tmp_path):
    save_inpainter(NET, tmp_path/'w.safetensors')
    torch.save(NET.state_dict(), tmp_path/'w.pth')
    data,rng = (tmp_path/f'w{suffix}').read_bytes(),random.Random(0)
    for _ in range(30):
        (tmp_path/f'bad{suffix}').write_bytes(damaged(data, rng))
        try: inpaint(PHOTO, HOLE, tmp_path/f'bad{suffix}', device='cpu')
        except InpaintError as e: assert '\n' not in str(e)

# --- the command

@pytest.fixture
def place(tmp_path, monkeypatch):
    "A folder with a photo, a hole and weights, which is the current one"
    monkeypatch.chdir(tmp_path)
    PHOTO.save('photo.png')
    Image.fromarray(HOLE).save('hole.png')
    save_inpainter(NET, 'w.safetensors')
    return tmp_path

def run(line): return main(line.split())

def files(folder='.'): return sorted(p.name for p in Path(folder).iterdir())

@pytest.mark.parametrize('out', ['out.png', 'out.tif', 'OUT.TIFF', 'new/folder/out.png'])
def test_one_photo(place, out, capsys):
    assert run(f'photo.png hole.png -o {out} --weights w.safetensors') == 0
    assert known_equal(Image.open(out), PHOTO, HOLE)
    assert capsys.readouterr() == ('','') and files(Path(out).parent)[-1] != '.tmp'

def test_jpeg_is_written_with_a_warning(place, capsys):
    assert run('photo.png hole.png -o out.jpg --weights w.safetensors') == 0
    assert 'exact' in capsys.readouterr().err and Image.open('out.jpg').format == 'JPEG'

def test_long_work_on_one_photo_shows_progress(place, capsys):
    picture('RGB', 400, 300).save('photo.png')
    dust = np.zeros((300,400), bool)
    dust[10::60, 10::60] = True
    Image.fromarray(dust).save('hole.png')
    assert run('photo.png hole.png -o out.png --weights w.safetensors') == 0
    assert '100.00%' in capsys.readouterr().out
    assert known_equal(Image.open('out.png'), Image.open('photo.png'), dust)

def test_a_name_that_the_console_cannot_show(place, monkeypatch):
    "As in a container without a language: its console knows ASCII alone"
    err = TextIOWrapper(BytesIO(), encoding='ascii')
    monkeypatch.setattr(sys, 'stderr', err)
    assert main(['f\u00f6to\u2603.png', 'hole.png', '-o', 'out.png']) == 1
    err.flush()
    assert rb'f\xf6to\u2603.png' in err.buffer.getvalue()

def test_what_is_lost_is_told_in_one_line(place, capsys):
    frames = [picture('RGB', 40, 30, i) for i in range(3)]
    frames[0].save('many.tif', save_all=True, append_images=frames[1:])
    assert run('many.tif hole.png -o out.png --weights w.safetensors') == 0
    assert capsys.readouterr().err == 'gla_inpaint: many.tif has 3 frames or pages: the first alone is filled and kept\n'

@pytest.mark.parametrize('line,why', [('photo.png hole.png -o out.xyz', '.png'), ('photo.png hole.png -o out', '.png'), ('photo.png hole.png -o photo.png', 'is an input'), ('photo.png hole.png -o ./hole.png', 'is an input'),
    ('photo.png hole.png -o link.png', 'is an input'), ('nowhere.png hole.png -o out.png', 'nowhere.png'), ('photo.png hole.png -o out.png --weights nowhere.pth', 'nowhere.pth'), ('photo.png . -o out.png', 'two files or two folders'),
    ('photo.png hole.png -o out.png --weights photo.png', 'weights'), ('photo.png photo.png -o out.png', 'same file'), ('hole.png photo.png -o out.png', 'looks like a photo'), ('cmyk.tif hole.png -o out.png', 'tif'), ('photo.png hole.png -o photo.png/out.png', 'photo.png')])
def test_mistakes_cost_one_line(place, line, why, capsys):
    os.symlink('photo.png', 'link.png')
    picture('CMYK', 40, 30).save('cmyk.tif')
    before = {f: Path(f).read_bytes() for f in files()}
    assert run(line + ('' if '--weights' in line else ' --weights w.safetensors')) == 1
    out,err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and why in err
    assert {f: Path(f).read_bytes() for f in files()} == before, "nothing is written, nothing is left behind"

@pytest.mark.parametrize('line,why', [('photo.png hole.png -o dir.png', 'Is a directory'), ('dir.png hole.png -o out', 'no picture in dir.png'), ('dir.png dir.png -o out', 'no picture in dir.png'),
    ('photos holes -o photo.png', 'photo.png is a file'), ('photo.png small.png -o out.png', 'resize it')])
def test_files_and_folders_mixed_up(place, line, why, capsys):
    for d in ('dir.png', 'photos', 'holes'): Path(d).mkdir()
    PHOTO.save('photos/a.png'); Image.fromarray(HOLE).save('holes/a.png'); Image.fromarray(HOLE[::2,::2]).save('small.png')
    before = sorted(Path().rglob('*'))
    assert run(line+' --weights w.safetensors') == 1
    out,err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and why in err and sorted(Path().rglob('*')) == before

@pytest.mark.parametrize('error,why', [(RuntimeError('CUDA out of memory\nand much more'), 'out of memory: close'), (MemoryError(), 'out of memory: close'), (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), 'out of memory: close'),
    (KeyboardInterrupt(), 'interrupted'), (RuntimeError('odd'), 'RuntimeError: odd'), (ZeroDivisionError('division by zero\nmore'), 'ZeroDivisionError: division by zero'), (KeyError(), 'KeyError')])
def test_what_no_argument_is_to_blame_for_costs_one_line_too(place, monkeypatch, capsys, error, why):
    def fails(*_, **__): raise error
    monkeypatch.setattr(inference, 'inpaint', fails)
    assert run('photo.png hole.png -o out.png --weights w.safetensors') == 1
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and why in err

def test_names_with_spaces_and_accents(place):
    os.rename('photo.png', 'mein Föto.png'); os.rename('w.safetensors', 'meine Gewichte.safetensors')
    assert main(['mein Föto.png', 'hole.png', '-o', 'für dich/é.png', '--weights', 'meine Gewichte.safetensors']) == 0
    assert known_equal(Image.open('für dich/é.png'), PHOTO, HOLE)

def test_suffix_is_checked_before_any_work(place, monkeypatch):
    monkeypatch.setattr(inference, 'inpaint', lambda *a, **k: pytest.fail('worked before the check'))
    assert run('photo.png hole.png -o out.xyz') == 1 and run('photo.png hole.png -o hole.png') == 1

def test_a_failed_write_leaves_the_old_result(place, monkeypatch):
    Path('out.png').write_bytes(b'old')
    def broken(self, fp, *args, **kwargs): Path(fp).write_bytes(b'half'); raise OSError('disk full')
    monkeypatch.setattr(Image.Image, 'save', broken)
    assert run('photo.png hole.png -o out.png --weights w.safetensors') == 1
    assert Path('out.png').read_bytes() == b'old' and files() == ['hole.png', 'out.png', 'photo.png', 'w.safetensors']

def test_folders(place, capsys, monkeypatch):
    for d in ('photos', 'holes'): Path(d).mkdir()
    for i in range(3): PHOTO.save(f'photos/{i}.png'); Image.fromarray(HOLE).save(f'holes/{i}.png')
    picture('CMYK', 40, 30).save('photos/ink.jpg'); Image.fromarray(HOLE).save('holes/ink.bmp')
    PHOTO.save('photos/dots.in.name.PNG'); Image.fromarray(HOLE).save('holes/dots.in.name.png')
    Path('photos/1.png').write_bytes(b'damaged')
    PHOTO.save('photos/lonely.png'); Image.fromarray(HOLE).save('holes/nobody.png')
    PHOTO.save('photos/twice.png'); PHOTO.save('photos/twice.jpg'); Image.fromarray(HOLE).save('holes/twice.png')
    Path('photos/notes.txt').write_text('not a picture'); Path('photos/.hidden.png').write_bytes(b'')
    line = 'photos holes -o done/here --weights w.safetensors'
    assert run(line) == 1
    out,err = capsys.readouterr()
    assert sorted(l.split(':')[0] for l in err.splitlines()) == ['1', 'lonely', 'nobody', 'twice'] and '4 filled' in out
    assert files('done/here') == ['0.png', '2.png', 'dots.in.name.png', 'ink.tif']
    assert known_equal(Image.open('done/here/0.png'), PHOTO, HOLE) and known_equal(Image.open('done/here/ink.tif'), Image.open('photos/ink.jpg'), HOLE)
    with monkeypatch.context() as m:  # what no file is to blame for does not stop the others either
        m.setattr(inference, 'inpaint', lambda *_, **__: (_ for _ in ()).throw(RuntimeError('out of memory')))
        os.remove('done/here/0.png')
        assert run(line) == 1 and '0: out of memory' in capsys.readouterr().err
    assert run(line) == 1
    capsys.readouterr()
    stamps = {f: (Path('done/here')/f).stat().st_mtime_ns for f in files('done/here')}
    for f in ('photos/1.png', 'photos/lonely.png', 'holes/nobody.png', 'photos/twice.jpg', 'photos/twice.png', 'holes/twice.png'): os.remove(f)
    os.remove('holes/1.png')
    assert run(line) == 0 and '4 done before' in capsys.readouterr().out
    assert {f: (Path('done/here')/f).stat().st_mtime_ns for f in files('done/here')} == stamps

@pytest.fixture
def batch(place):
    "Three photos and their holes"
    for d in ('photos', 'holes'): Path(d).mkdir()
    for i in range(3):
        picture('RGB', 40, 30, i).save(f'photos/{i}.png')
        Image.fromarray(HOLE).save(f'holes/{i}.png')
    save_inpainter(tiny(6), 'other.safetensors')
    return place

LINE = 'photos holes -o done --weights w.safetensors'

@pytest.mark.parametrize('what', ['hole', 'photo', 'weights', 'nothing'])
def test_what_has_changed_is_done_anew(batch, what, capsys):
    assert run(LINE) == 0
    before,line = Path('done/1.png').read_bytes(),LINE
    if what == 'hole': Image.fromarray(square(30, 40, (15,20), 9)).save('holes/1.png'); os.utime('holes/1.png', (0,0))
    if what == 'photo': picture('RGB', 40, 30, 9).save('photos/1.png')
    if what == 'weights': line = LINE.replace('w.safe', 'other.safe')
    capsys.readouterr()
    assert run(line) == 0
    n = dict(hole=1, photo=1, weights=3, nothing=0)[what]
    assert f'{n} filled, {3-n} done before' in capsys.readouterr().out and (Path('done/1.png').read_bytes() == before) == (n == 0)

def test_a_file_that_we_did_not_make_is_not_written_over(batch, capsys):
    Path('done').mkdir(); PHOTO.save('done/1.png')
    mine = Path('done/1.png').read_bytes()
    for _ in range(2):
        assert run(LINE) == 1 and '1: done/1.png is there already' in capsys.readouterr().err
        assert Path('done/1.png').read_bytes() == mine and files('done') == ['0.png', '1.png', '2.png']

def test_one_hole_for_a_folder_of_photos(batch, capsys):
    assert run('photos hole.png -o done --weights w.safetensors') == 0 and files('done') == ['0.png', '1.png', '2.png']
    for i in range(3): assert known_equal(Image.open(f'done/{i}.png'), picture('RGB', 40, 30, i), HOLE)

@pytest.mark.parametrize('together', [True, False])
def test_names_as_lama_has_them(place, together):
    Path('in').mkdir(); Path('masks').mkdir()
    for n in ('a', 'b_c'): PHOTO.save(f'in/{n}.png')
    for n in ('a_mask000', 'a_mask001', 'b_c_mask'): Image.fromarray(HOLE).save(f"{'in' if together else 'masks'}/{n}.png")
    assert run(f"in {'in' if together else 'masks'} -o done --weights w.safetensors") == 0
    assert files('done') == ['a_mask000.png', 'a_mask001.png', 'b_c_mask.png']

def test_the_same_folder_twice(batch, capsys):
    assert run('photos photos -o done --weights w.safetensors') == 1
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and 'img_mask001.png beside img.png' in err and not Path('done').exists()

def test_accents_that_are_stored_in_two_ways_match(place):
    "A Mac writes e and an accent, others one letter"
    for d in ('photos', 'holes'): Path(d).mkdir()
    PHOTO.save('photos/caf\u00e9.png'); Image.fromarray(HOLE).save('holes/cafe\u0301.png')
    assert run(LINE) == 0 and len(files('done')) == 1

def test_a_pdf_beside_a_photo_is_not_a_second_photo(batch):
    Path('photos/1.pdf').write_bytes(b'%PDF-1.7'); Path('photos/2.eps').write_bytes(b'%!PS')
    assert run(LINE) == 0 and files('done') == ['0.png', '1.png', '2.png']

def test_a_mistyped_folder(batch, capsys):
    for line in ('photoz holes -o done', 'photos holez -o done'):
        assert run(line) == 1
        err = capsys.readouterr().err
        assert err.count('\n') == 1 and 'there is no file or folder' in err and 'z: check the path' in err

def test_resize_hole_on_the_command_line(batch):
    Image.fromarray(HOLE[::2,::2]).save('half.png')
    assert run('photo.png half.png -o out.png --weights w.safetensors') == 1
    assert run('photo.png half.png -o out.png --weights w.safetensors --resize-hole') == 0
    assert run('photos half.png -o done --weights w.safetensors --resize-hole') == 0 and len(files('done')) == 3

@pytest.mark.parametrize('out', ['photos', 'holes', 'photo.png'])
def test_folders_are_not_written_over(place, out, capsys):
    for d in ('photos', 'holes'): Path(d).mkdir()
    PHOTO.save('photos/a.png'); Image.fromarray(HOLE).save('holes/a.png')
    assert run(f'photos holes -o {out} --weights w.safetensors') == 1
    assert known_equal(Image.open('photos/a.png'), PHOTO, ~np.ones_like(HOLE)) and len(files(out) if Path(out).is_dir() else [1]) == 1

def python(*args, **kwargs): return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=300, **kwargs)

def test_as_a_process(place):
    env = dict(os.environ, COLUMNS='80')
    help = python('-m', 'gla_inpaint.inference', '--help', env=env)
    assert help.returncode == 0 and len(help.stdout.splitlines()) <= 24 and 'PHOTO' in help.stdout
    bad = python('-m', 'gla_inpaint.inference', 'nowhere.png', 'hole.png', '-o', 'out.png', '--weights', 'w.safetensors', env=env)
    assert bad.returncode == 1 and bad.stdout == '' and len(bad.stderr.splitlines()) == 1

BIG = """
import numpy as np, resource, torch
torch.set_num_threads(1)
from gla_inpaint.generator import Inpainter
from gla_inpaint.inference import inpaint
net = Inpainter(8)
net.size = 96
photo = np.random.default_rng(0).integers(0, 256, (3000,4000,3), dtype=np.uint8)
hole = np.zeros((3000,4000), bool)
hole[100:300,100:300] = hole[1000:1700,500:1100] = hole[1800:2900,2500:3900] = True
out = np.asarray(inpaint(photo, hole, net))
assert (out == photo)[~hole].all() and (out != photo)[hole].mean() > .9
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

@pytest.mark.skipif(sys.platform != 'linux', reason='ru_maxrss is in KiB on Linux')
def test_twelve_megapixels_fit_in_3_gb():
    done = python('-c', BIG)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout)/2**20 < 3
