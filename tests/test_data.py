"What the notebook on photos cannot show: worker processes, a fresh interpreter, odd and damaged files, a whole Learner."
import hashlib, io, itertools, os, shutil, subprocess, sys, warnings, zlib
import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np, pytest, tifffile, torch
from fastai.callback.schedule import lr_find
from fastai.callback.core import CancelTrainException, Callback
from fastai.data.core import TfmdDL
from fastai.learner import Learner, load_learner
from PIL import EpsImagePlugin, Image

from gla_inpaint.data import (HELD_OUT, InpaintDataset, crop_box, crop_photo, find_photos, inpaint_dataloaders, load_crop,
                              load_photo, sample_photos, show_rows, split_celeba_hq, split_imagenet, split_photos, split_places365, to_pair, to_tensor)
from gla_inpaint.pictures import SUFFIXES, UNREADABLE, PictureError
from gla_inpaint.masks import free_form_hole, mask_from_hole

def picture(seed=0, size=(60,40)):
    "A smooth colour picture, different for each seed; `size` is (width, height)."
    small = np.random.default_rng(seed).integers(0, 256, (4,6,3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.BICUBIC)

@pytest.fixture
def album(tmp_path):
    "Eleven JPEGs, of sizes smaller and larger than the crops."
    for i in range(11): picture(i, (30+7*i, 90-5*i)).save(tmp_path/f'p{i:02d}.jpg')
    return tmp_path

def equal(xs, ys):
    xs,ys = list(xs),list(ys)
    return len(xs) == len(ys) > 0 and all(len(a) == len(b) == 3 and all(torch.equal(x, y) for x,y in zip(a, b)) for a,b in zip(xs, ys))

def loaders(path, n=0, **kwargs): return inpaint_dataloaders(path, **(dict(size=32, bs=3, valid=.3, num_workers=n, device='cpu') | kwargs))
def pixels(im): return np.asarray(im).astype(int)
def png(im, path, **kwargs): im.save(path, **kwargs); return path
def encoded(im, fmt='PNG', **kwargs): f = io.BytesIO(); im.save(f, fmt, **kwargs); return f.getvalue()

# --- batches do not depend on who draws them

@pytest.mark.parametrize('n', [1, 2, 3])
def test_worker_counts_agree(album, n):
    a,b = loaders(album, seed=5),loaders(album, n, seed=5)
    for dl_a,dl_b in ((a.train, b.train), (a.valid, b.valid)):
        first,second = list(dl_a),list(dl_a)
        assert equal(first, dl_b) and equal(second, dl_b)
        assert equal(first, second) == (dl_a is a.valid)
    assert (len(a.train), len(a.train_ds), len(a.valid_ds)) == (2, 8, 3)

@pytest.mark.filterwarnings('ignore:This DataLoader will create')
@pytest.mark.parametrize('loader', [torch.utils.data.DataLoader, TfmdDL])
def test_unseeded_holes_differ_between_workers(loader):
    class Unseeded:
        def __len__(self): return 9
        def __getitem__(self, i): return mask_from_hole(free_form_hole((64,64)))
    torch.manual_seed(42)
    dl = loader(Unseeded(), 1, num_workers=3)
    holes = [m.numpy().tobytes() for _ in range(2) for m in dl]
    assert len(set(holes)) == 18, 'workers, or passes, repeat each other'

SCRIPT = """
import hashlib, sys
from gla_inpaint.data import inpaint_dataloaders
dls = inpaint_dataloaders(sys.argv[1], size=32, bs=3, valid=.3, num_workers=0, seed=7, device='cpu')
dls.train_ds.epoch = 4
print(hashlib.sha256(b''.join(t.numpy().tobytes() for dl in dls for b in dl for t in b)).hexdigest())
"""
def test_a_fresh_process_agrees(album):
    dls = loaders(album, seed=7)
    for _ in range(4): list(dls.train)
    here = hashlib.sha256(b''.join(t.numpy().tobytes() for dl in dls for b in dl for t in b)).hexdigest()
    out = subprocess.run([sys.executable, '-W', 'ignore', '-c', SCRIPT, str(album)], capture_output=True, text=True, env=os.environ | {'PYTHONHASHSEED': '123'})
    assert out.stdout.strip() == here, out.stderr

# --- passes

def test_pass_k_is_a_function_of_seed_and_k(album):
    a,b = loaders(album, seed=1),loaders(album, seed=1)
    passes = [list(a.train) for _ in range(4)]
    assert a.train_ds.epoch == 4
    for k in (3, 0, 2):
        b.train_ds.epoch = k
        assert equal(b.train, passes[k]) and b.train_ds.epoch == k+1
    assert not equal(loaders(album, seed=2).train, passes[0])

def test_order_changes_from_pass_to_pass_and_is_complete(album):
    dl = loaders(album, bs=1).train
    orders = []
    for _ in range(5):
        n = len(list(dl))
        orders.append([dl.photos_of(i)[0].name for i in range(n)])
    assert len({tuple(o) for o in orders}) == 5 and all(sorted(o) == sorted(orders[0]) and len(set(o)) == 8 for o in orders)

def test_looks_do_not_count(album):
    a,b = loaders(album, seed=3),loaders(album, seed=3)
    expected = [list(b.train) for _ in range(2)]
    for k in range(2):
        a.show_batch(); assert equal([a.one_batch()], expected[k][:1])
        assert equal(a.train, expected[k])
    dl = loaders(album, seed=3).train; got = []
    for batch in dl: # looks in the middle of a pass
        names = dl.photos_of(0); dl.one_batch()
        got.append(batch); assert dl.photos_of(0) == names
    assert equal(got, expected[0])
    plt.close('all')

def test_an_interrupted_pass_counts(album):
    dl = loaders(album).train
    expected = [list(loaders(album).train)]
    it = iter(dl); next(it); del it
    assert dl.dataset.epoch == 1 and not equal(dl, expected[0])

def test_photos_of_names_what_the_batch_shows():
    greys = [Image.new('RGB', (20,20), (10*i,)*3) for i in range(12)]
    dls = inpaint_dataloaders(greys, 16, 4, valid=greys[:2], num_workers=2, seed=1, device='cpu')
    for k in range(3):
        for step,(_,_,truth) in enumerate(dls.train):
            shown = ((truth.amax((1,2,3))+1)*127.5/10).round().int().tolist()
            assert [greys.index(p) for p in dls.train.photos_of(step)] == shown
    assert dls.valid.photos_of(0) == greys[:2]

# --- other colours

@pytest.mark.parametrize('n', [0, 2])
def test_a_run_with_other_colours_resumes_with_the_same_colours(album, n):
    a,b = loaders(album, seed=1, colour=True),loaders(album, n, seed=1, colour=True)
    passes = [list(a.train) for _ in range(3)]
    b.train_ds.epoch,b.train.first = 2,1
    assert equal(b.train, passes[2][1:])

def test_other_colours_leave_crops_holes_and_validation_alone(album):
    a,b = loaders(album, seed=1),loaders(album, seed=1, colour=True)
    assert equal(a.valid, b.valid)
    for (_,m,x),(holed,n,y) in zip(a.train, b.train, strict=True):
        assert torch.equal(m, n) and torch.equal(holed, y*n) and y.abs().max() <= 1
        assert all(not torch.equal(p, q) for p,q in zip(x, y))
    assert b.new_empty().train_ds.colour and not a.new_empty().train_ds.colour

def test_grey_photos_stay_grey_in_other_colours():
    grey = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (40,40), dtype=np.uint8)).convert('RGB') for i in range(4)]
    for x in loaders(grey, valid=grey[:1], colour=True, bs=4).train.one_batch()[2]:
        assert torch.equal(x[0], x[1]) and torch.equal(x[0], x[2]) and x.std() > .1

# --- samples

def test_sample_properties(album):
    ds = InpaintDataset(find_photos(album), (24,48), (.1,.3), seed=1)
    assert len(list(itertools.islice(ds, 50))) == 11, 'iterating over the dataset ends'
    for ds.epoch in range(3):
        for holed,mask,truth in ds:
            assert type(holed) is type(mask) is type(truth) is torch.Tensor and holed.dtype == mask.dtype == torch.float32
            assert truth.shape == (3,24,48) and mask.shape == (1,24,48) and set(mask.unique().tolist()) == {0., 1.}
            assert truth.abs().max() <= 1 and torch.equal(truth*mask, holed) and .1 <= 1-mask.mean() < .3
    assert equal([ds[-1]], [ds[10]])
    for i in (11, -12): pytest.raises(IndexError, ds.__getitem__, i)

def test_holes_of_a_pass_all_differ_and_validation_is_fixed(album):
    photos = find_photos(album)
    train,valid = (InpaintDataset(photos, 32, seed=1, train=t) for t in (True, False))
    seen = set()
    for epoch in range(1, 4):
        train.epoch = valid.epoch = epoch
        seen |= {m.numpy().tobytes() for _,m,_ in train}
        fixed = list(valid) if epoch == 1 else fixed
        assert equal(valid, fixed)
    assert len(seen) == 33
    other = InpaintDataset(photos, 32, seed=2, train=True); other.epoch = 3
    assert not seen & {m.numpy().tobytes() for _,m,_ in other}, 'another seed, other holes'
    for p,(_,_,truth) in zip(photos, fixed):
        assert torch.equal(truth, torch.from_numpy(pixels(crop_photo(load_photo(p), (32,32)))).permute(2,0,1)/127.5 - 1)

def test_every_box_is_accepted_by_pillow():
    for W in range(17, 140):
        for size in ((48,48), (49,49), (93,93), (100,37)):
            for rng in (None, np.random.default_rng(W)):
                assert crop_photo(Image.new('RGB', (W,W+7)), size, rng).size == size[::-1]

def test_boxes_lie_inside_have_the_shape_asked_for_and_are_not_enlarged_without_need():
    rng = np.random.default_rng(42)
    for _ in range(2000):
        (W,H),(h,w) = rng.integers(20, 300, 2).tolist(),rng.integers(16, 128, 2).tolist()
        l,t,r,b = crop_box((W,H), (h,w), rng)
        assert 0 <= l and 0 <= t and r <= W+1e-9 and b <= H+1e-9
        assert (r-l)*h == pytest.approx((b-t)*w)
        assert r-l > w-1e-6 or W < w or H < h

def test_height_comes_first(): assert to_tensor(crop_photo(picture(), (16,48))).shape == (3,16,48)

def test_a_small_copy_gives_the_same_view_only_softer():
    small,large = (to_tensor(crop_photo(picture(0, size), (64,64))) for size in ((60,40), (600,400)))
    assert small.shape == large.shape and (small-large).abs().mean() < .15

def test_crops_are_mirrored_never_turned():
    corners = Image.new('RGB', (64,64)); corners.paste((255,0,0), (0,0,32,32)); corners.paste((0,255,0), (32,0,64,32)) # red, green above; black below
    up = [pixels(crop_photo(corners, (64,64), np.random.default_rng(i)))[2] for i in range(100)]
    first = [tuple(row[2] > 200) for row in up]
    assert set(first) == {(True,False,False), (False,True,False)} and 30 < first.count((True,False,False)) < 70

def test_small_photos_are_scaled_up_whole():
    for seed in range(20): assert crop_box((30,20), (64,96), np.random.default_rng(seed)) == (0,0,30,20)

# --- large photos

def large(seed=0, size=(1500,1000), **kwargs): return encoded(picture(seed, size), 'JPEG', quality=95, **kwargs)

@pytest.mark.parametrize('turn', [1, 3, 6, 8])
@pytest.mark.parametrize('seed', range(6))
def test_a_large_jpeg_is_not_decoded_in_full_and_looks_the_same(tmp_path, monkeypatch, seed, turn):
    exif = Image.Exif(); exif[0x0112] = turn
    file = tmp_path/'a.jpg'; file.write_bytes(large(exif=exif))
    whole = crop_photo(load_photo(file), (64,96), np.random.default_rng(seed))
    decoded,transpose = [],Image.Image.convert
    monkeypatch.setattr(Image.Image, 'convert', lambda im, *args, **kwargs: decoded.append(im.size) or transpose(im, *args, **kwargs))
    crop = load_crop(file, (64,96), np.random.default_rng(seed))
    l,t,r,b = crop_box((1500,1000) if turn < 5 else (1000,1500), (64,96), np.random.default_rng(seed))
    times = [n/m for n,m in zip(sorted((1500,1000)), sorted(decoded[0]))]
    allowed = min((r-l)/96, (b-t)/64)
    assert abs(pixels(crop)-pixels(whole)).mean() < 2 and all(abs(n - max(s for s in (1,2,4,8) if s <= allowed)) < .05 for n in times)

def test_of_a_large_photo_only_what_is_random_is_drawn_from_the_generator(tmp_path):
    "So the hole, which is drawn next, is that of a photo of any size and kind."
    (tmp_path/'a.jpg').write_bytes(large()); picture(0, (1500,1000)).save(tmp_path/'a.png')
    after = []
    for name in ('a.jpg', 'a.png'):
        rng = np.random.default_rng(5); load_crop(tmp_path/name, (64,96), rng); after.append(rng.random())
    assert after[0] == after[1]

def test_small_photos_and_validation_are_read_as_before(tmp_path):
    (tmp_path/'a.jpg').write_bytes(large()); (tmp_path/'b.jpg').write_bytes(large(size=(120,90)))
    for file,rng in ((tmp_path/'a.jpg', lambda: None), (tmp_path/'b.jpg', lambda: np.random.default_rng(1))):
        assert (pixels(load_crop(file, (64,64), rng())) == pixels(crop_photo(load_photo(file), (64,64), rng()))).all()
    im = Image.open(tmp_path/'a.jpg'); load_crop(im, (64,64), np.random.default_rng(1)); assert im.size == (1500,1000), 'an open photo is not shrunk'

# --- odd files, read right

def transparent(mode):
    "Left half seen, right half transparent."
    im = picture().convert(mode[:-1]); alpha = Image.new('L', im.size, 0); alpha.paste(255, (0,0,30,40))
    im.putalpha(alpha); return im

def left_seen(im): out = Image.new('RGB', (60,40), 'white'); out.paste(im.convert('RGB').crop((0,0,30,40))); return out

def odd_file(kind, path):
    "Save one odd file; returns its path and the picture it should be read as."
    im,grey = picture(),picture().convert('L')
    if kind == 'exif':
        turned = Image.Exif(); turned[0x0112] = 6
        return png(im.transpose(Image.Transpose.ROTATE_90), path/'x.jpg', exif=turned, quality=100, subsampling=0),im
    if kind == 'palette':
        p = im.quantize(63); p.putpalette(p.getpalette()[:63*3]+[255,0,255]); p.paste(63, (30,0,60,40))
        return png(p, path/'x.png', transparency=63),left_seen(p)
    if kind == 'palette_plain': p = im.quantize(64); return png(p, path/'x.png'),p.convert('RGB')
    if kind == 'rgba': return png(transparent('RGBA'), path/'x.png'),left_seen(im)
    if kind == 'grey_alpha': return png(transparent('LA'), path/'x.png'),left_seen(grey)
    if kind == 'colour_key':
        p = im.copy(); p.paste((1,2,3), (30,0,60,40))
        return png(p, path/'x.png', transparency=(1,2,3)),left_seen(im)
    if kind == 'grey': return png(grey, path/'x.png'),grey.convert('RGB')
    if kind == 'one_bit': return png(im.convert('1'), path/'x.png'),im.convert('1').convert('RGB')
    if kind == 'cmyk': return png(im.convert('CMYK'), path/'x.jpg', quality=100),im
    deep = pixels(grey)*257
    if kind == '16_bit_png': return png(Image.fromarray(deep.astype(np.uint16)), path/'x.png'),grey.convert('RGB')
    if kind == '16_bit_tiff': return png(Image.fromarray(deep.astype('>u2')), path/'x.tif'),grey.convert('RGB')
    if kind == '32_bit_tiff': return png(Image.fromarray(deep.astype(np.int32)), path/'x.tif'),grey.convert('RGB')
    if kind == 'gif': return png(im.quantize(64), path/'x.gif', save_all=True, append_images=[picture(1).quantize(64)]),im.quantize(64).convert('RGB')
    if kind == 'webp': return png(im, path/'x.webp', save_all=True, append_images=[picture(1)], lossless=True),im
    if kind == 'png_named_jpg': return png(im, path/'x.jpg', format='PNG'),im
    if kind == 'upper_case': return png(im, path/'X.BMP'),im
    if kind == 'one_pixel': p = Image.new('RGB', (1,1), (9,99,199)); return png(p, path/'x.png'),p

ODD = dict(exif=6, palette=0, palette_plain=0, rgba=0, grey_alpha=0, colour_key=0, grey=0, one_bit=0, cmyk=12, gif=0, webp=0, png_named_jpg=0, upper_case=0, one_pixel=0) \
    | {'16_bit_png': 0, '16_bit_tiff': 0, '32_bit_tiff': 0}
@pytest.mark.parametrize('kind', ODD)
def test_odd_files_are_read_right(kind, tmp_path):
    file,right = odd_file(kind, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert find_photos(tmp_path) == [file]
        for src in (file, str(file), io.BytesIO(file.read_bytes()), Image.open(io.BytesIO(file.read_bytes()))):
            got = load_photo(src)
            assert got.mode == 'RGB' and got.size == right.size and abs(pixels(got)-pixels(right)).max() <= ODD[kind]
        assert InpaintDataset([file], 16)[0][2].shape == (3,16,16)

def test_an_open_file_can_be_read_again():
    f = io.BytesIO(); picture().save(f, 'PNG')
    assert (pixels(load_photo(f)) == pixels(load_photo(f))).all()

def test_load_photo_leaves_its_argument_alone():
    im = picture(); out = load_photo(im); out.putpixel((0,0), (1,2,3))
    assert out is not im and im.getpixel((0,0)) == picture().getpixel((0,0))

# --- what is opened, and what is not

def tiff(x, **kwargs): f = io.BytesIO(); tifffile.imwrite(f, x, **kwargs); return f.getvalue()
def deep(*shape): return np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)

def test_an_eps_file_called_png_does_not_start_ghostscript(tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, 'Ghostscript', lambda *a, **k: pytest.fail('a program was run'))
    (tmp_path/'cat.png').write_bytes(encoded(picture(), 'EPS')); picture().save(tmp_path/'dog.png')
    with pytest.warns(UserWarning, match='cat.png: it is none of AVIF'): assert [f.name for f in find_photos(tmp_path)] == ['dog.png']
    with pytest.raises(PictureError, match='save it as PNG first'): load_photo(tmp_path/'cat.png')

@pytest.mark.parametrize('fmt', ['ICO', 'PCX', 'TGA', 'SGI', 'DDS', 'PDF'])
def test_other_formats_are_refused_by_what_is_in_them(fmt):
    with pytest.raises(PictureError, match='none of'): load_photo(encoded(picture(), fmt))

@pytest.mark.parametrize('fmt', ['AVIF', 'BMP', 'GIF', 'JPEG', 'JPEG2000', 'MPO', 'PNG', 'PPM', 'TIFF', 'WEBP'])
def test_formats_that_are_opened(fmt): assert load_photo(encoded(picture(), fmt)).size == (60,40)

@pytest.mark.parametrize('data, why', [(b'', 'is empty'), (b'P', 'none of'), (b'%PDF-1.7', 'none of'), (b'\xff\xd8\xff'+bytes(60), 'begins like a JPEG.*damaged'), (tiff(np.zeros((9,9), np.uint16), photometric='miniswhite', byteorder='>'), 'begins like a TIFF.*rare kind'),
                                       (b'\0\0\0\x18ftypheic' + bytes(60), 'a HEIC photo.*save it as JPEG')])
def test_a_file_that_is_no_picture_is_told_what_it_is(data, why):
    with pytest.raises(PictureError, match=why): load_photo(data)

@pytest.mark.filterwarnings('ignore:Image size')
def test_more_pixels_than_the_limit_are_an_error(album, monkeypatch):
    "Pillow only warns, up to twice the limit. A picture in memory has been paid for."
    big = picture(0, (40,30)); big.save(album/'big.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    with pytest.raises(Image.DecompressionBombError, match='40x30'): load_photo(album/'big.png')
    assert load_photo(big).size == (40,30)
    with pytest.warns(UserWarning, match='skipping.*big.png'), pytest.raises(FileNotFoundError): find_photos([album/'big.png'])
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1200)
    assert load_photo(album/'big.png').size == (40,30)

def with_chunk(png, name, data, at):
    "A PNG with one more chunk, before its first chunk of that name"
    i = png.index(at)-4
    return png[:i] + len(data).to_bytes(4, 'big') + name + data + zlib.crc32(name+data).to_bytes(4, 'big') + png[i:]

@pytest.mark.parametrize('at', [b'IDAT', b'IEND'])
@pytest.mark.parametrize('name, head', [(b'zTXt', b'workflow\0\0'), (b'iTXt', b'workflow\0\1\0\0\0'), (b'tEXt', b'workflow\0')])
def test_a_png_with_megabytes_of_text(tmp_path, name, head, at):
    "As programs that make pictures from words write them. Pillow refuses more than one megabyte."
    text = b'prompt '*300_000
    (tmp_path/'a.png').write_bytes(with_chunk(encoded(picture()), name, head + (text if name == b'tEXt' else zlib.compress(text)), at))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert find_photos(tmp_path) == [tmp_path/'a.png']
    assert (pixels(load_photo(tmp_path/'a.png')) == pixels(picture())).all()

def test_text_that_says_how_to_turn_a_photo_is_read():
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"></x:xmpmeta>'
    lying = encoded(picture().transpose(Image.Transpose.ROTATE_90))
    assert (pixels(load_photo(with_chunk(lying, b'iTXt', xmp, b'IDAT'))) == pixels(picture())).all()

def test_planes_of_16_bits_are_not_read_as_garbage(tmp_path):
    (tmp_path/'a.tif').write_bytes(tiff(deep(3,40,60), planarconfig='separate', photometric='rgb'))
    with pytest.raises(PictureError, match='planes of 16 bits'): load_photo(tmp_path/'a.tif')
    with pytest.raises(PictureError, match='planes of 16 bits'): load_photo(Image.open(tmp_path/'a.tif'))
    x = (deep(3,40,60) >> 8).astype(np.uint8)
    assert (pixels(load_photo(tiff(x, planarconfig='separate', photometric='rgb'))) == np.moveaxis(x, 0, 2)).all(), 'planes of 8 bits are read right'
    assert (pixels(load_photo(tiff(np.moveaxis(deep(3,40,60), 0, 2), photometric='rgb')))-np.moveaxis(deep(3,40,60)/257, 0, 2)).max() < 1

def test_16_bits_with_white_as_0_are_no_negative():
    x = deep(40,60)
    got = load_photo(tiff(65535-x, photometric='miniswhite'))
    assert abs(pixels(got)[...,0] - x/257).max() <= .5
    assert (pixels(got) == pixels(load_photo(tiff(x, photometric='minisblack')))).all()

def test_12_bits_are_not_read_as_darkness():
    data = tiff(deep(40,60) >> 4, photometric='minisblack', metadata=None)
    tag = data.index(bytes([2,1,3,0,1,0,0,0,16,0])) # 258, a short, one of them: 16
    with pytest.raises(PictureError, match='grey of 12 bits'): load_photo(data[:tag+8] + bytes([12]) + data[tag+9:])

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('damage', range(6, 60, 3))
def test_damaged_exif_does_no_harm_to_the_photo(damage):
    exif = Image.Exif(); exif[0x010e],exif[0x0112],exif[0x011a] = 'text',6,72.
    data = exif.tobytes()[:damage]
    got = load_photo(encoded(picture(), 'WEBP', exif=data, lossless=True))
    assert (pixels(got) == pixels(picture())).all() or (pixels(got) == pixels(picture().transpose(Image.Transpose.ROTATE_270))).all()

# --- damaged files, named and skipped

def damaged(kind, path):
    whole = io.BytesIO(); picture(9).save(whole, 'JPEG'); whole = whole.getvalue()
    file = path/f'{kind}.jpg'
    if kind == 'text': file.write_text('no picture')
    if kind == 'empty': file.touch()
    if kind == 'zero_png': file = path/'zero.png'; file.write_bytes(bytes(100))
    if kind == 'header_only': file.write_bytes(whole[:20])
    if kind == 'broken_link': file.symlink_to(path/'nowhere.jpg')
    if kind == 'bomb': Image.new('RGB', (300,300)).save(file)
    if kind == 'truncated': file.write_bytes(whole[:len(whole)*2//3])
    if kind == 'float': file = path/'float.tif'; Image.fromarray(np.zeros((20,20), np.float32)).save(file)
    if kind == 'deep': file = path/'deep.tif'; Image.fromarray(np.full((20,20), 70000, np.int32)).save(file)
    return file

@pytest.mark.parametrize('kind', ['text', 'empty', 'zero_png', 'header_only', 'broken_link', 'bomb'])
def test_no_header_is_skipped_at_construction(kind, album, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 20_000)
    file = damaged(kind, album)
    pytest.raises(UNREADABLE, load_photo, file)
    with pytest.warns(UserWarning, match=file.name) as caught: found = find_photos(album)
    assert len(caught) == 1 and [f.name for f in found] == [f'p{i:02d}.jpg' for i in range(11)]
    with pytest.warns(UserWarning, match=file.name): assert find_photos([found[0], file]) == found[:1], 'in a list as in a folder'

@pytest.mark.parametrize('kind', ['truncated', 'float', 'deep'])
def test_damage_within_is_skipped_when_read(kind, album):
    good = find_photos(album); bad = damaged(kind, album)
    pytest.raises(UNREADABLE, load_photo, bad)
    assert bad in find_photos(album)
    ds,before = InpaintDataset([good[0], bad, good[1]], 32, seed=4),InpaintDataset([good[0], good[1], good[1]], 32, seed=4)
    with pytest.warns(UserWarning, match=bad.name): assert equal(ds, before), 'its neighbour, with the crop and hole of its own place'

def test_folder_named_like_a_photo(album):
    (album/'x.jpg').mkdir(); picture().save(album/'x.jpg'/'inside.png'); (album/'.hidden.jpg').write_text('resource fork'); (album/'notes.txt').write_text('hello')
    assert [f.name for f in find_photos(album)] == [f'p{i:02d}.jpg' for i in range(11)] + ['inside.png']
    with pytest.warns(UserWarning, match='x.jpg'): assert len(find_photos([album/'x.jpg', album/'p00.jpg'])) == 1

@pytest.mark.parametrize('n', [0, 2])
@pytest.mark.filterwarnings('ignore:skipping')
def test_a_photo_deleted_after_construction(album, n):
    a,b = (loaders(album, n, seed=2) for _ in range(2))
    expected = list(a.train)
    gone = b.train_ds.photos[3]; gone.unlink()
    for step,(x,y) in enumerate(zip(expected, b.train, strict=True)):
        for j,p in enumerate(b.train.photos_of(step)):
            assert torch.equal(x[1][j], y[1][j]) and torch.equal(x[2][j], y[2][j]) == (p != gone)

def test_all_photos_deleted(album):
    ds = InpaintDataset(find_photos(album)[:2], 32)
    for p in ds.photos: p.unlink()
    with pytest.warns(UserWarning), pytest.raises(OSError, match='none of the 2 photos'): ds[0]

def test_random_damage_raises_nothing_unexpected():
    files,exif = [],Image.Exif()
    exif[0x0112],exif[0x010e],exif[0x011a] = 6,'text',72.
    for fmt,im in dict(JPEG=picture(), PNG=picture().quantize(16), GIF=picture().quantize(16), WEBP=picture(), BMP=picture()).items():
        f = io.BytesIO(); im.save(f, fmt, **(dict(exif=exif) if fmt in ('JPEG', 'WEBP') else {})); files.append(f.getvalue())
    rng = np.random.default_rng(0); read = 0
    for i in range(2000):
        f = bytearray(files[i%len(files)])
        for _ in range(rng.integers(1, 6)): f[rng.integers(min(len(f), rng.choice([40, 200, 10**6])))] = rng.integers(256)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try: read += load_photo(io.BytesIO(bytes(f))).mode == 'RGB'
            except UNREADABLE: pass
    assert 200 < read < 1900

def test_careless_exif_is_read_upright():
    "Some programs write tags of the wrong type. Only the orientation matters, and it is sound here."
    exif,right = Image.Exif(),picture()
    exif[0x010e],exif[0x0112],exif[0x011a] = 'text',6,72.
    f = io.BytesIO(); right.transpose(Image.Transpose.ROTATE_90).save(f, 'WEBP', exif=exif, lossless=True); f = f.getvalue()
    at = f.index(b'\x01\x0e\x00\x02') + 1 # the description's tag, 0x010e; its type is text, which others may not be
    for tag in set(range(256)) - {0x12}:
        got = load_photo(io.BytesIO(f[:at] + bytes([tag]) + f[at+1:]))
        assert (pixels(got) == pixels(right)).all()

@pytest.mark.parametrize('turn', range(1, 9))
@pytest.mark.parametrize('fmt', ['PNG', 'TIFF', 'WEBP'])
def test_all_orientations(fmt, turn):
    "Against Pillow's own reading of the tag."
    from PIL import ImageOps
    exif = Image.Exif(); exif[0x0112] = turn
    f = io.BytesIO(); picture().save(f, fmt, exif=exif, **(dict(lossless=True) if fmt == 'WEBP' else {}))
    assert (pixels(load_photo(f)) == pixels(ImageOps.exif_transpose(Image.open(f)))).all()

def test_lazily_opened_images_survive_workers(album):
    "Open files are shared between forked workers, and so is the position in them."
    noise = np.random.default_rng(0).integers(0, 256, (6,300,400,3), dtype=np.uint8)
    files = [png(Image.fromarray(n), album/f'n{i}.png') for i,n in enumerate(noise)] # far larger than a read buffer
    a,b = (inpaint_dataloaders([Image.open(f) for f in files], 32, 1, valid=files[:1], num_workers=n, device='cpu') for n in (0,3))
    for _ in range(2): assert equal(a.train, b.train)

# --- folders, splits, arguments

def test_missing_and_empty_folder(tmp_path):
    with pytest.raises(NotADirectoryError, match='nowhere'): loaders(tmp_path/'nowhere')
    (tmp_path/'a.txt').write_text('x')
    with pytest.raises(FileNotFoundError) as e: loaders(str(tmp_path))
    assert str(tmp_path) in str(e.value) and all(s in str(e.value) for s in SUFFIXES)
    with pytest.raises(FileNotFoundError): loaders([])
    with pytest.warns(UserWarning, match='a.txt'), pytest.raises(FileNotFoundError, match='in the list'): find_photos([tmp_path/'a.txt'])
    picture().save(tmp_path/'a.png')
    with pytest.raises(NotADirectoryError, match='a.png'): loaders(tmp_path/'a.png')

def test_split_shares_nothing(album):
    for i in range(3): (album/f'copy{i}.png').write_bytes((album/'p03.jpg').read_bytes())
    (album/'link.jpg').symlink_to(album/'p04.jpg')
    photos = find_photos(album); sides = set()
    for seed in range(20):
        a,b = split_photos(photos*2, .25, seed)
        assert sorted(a+b) == sorted(photos*2) and len({p.read_bytes() for p in b}) == 3
        assert not {p.read_bytes() for p in a} & {p.read_bytes() for p in b}
        sides.add(tuple(b))
    assert len(sides) > 10 and split_photos(photos, .25, 3) == split_photos(photos, .25, 3)
    assert [len(x) for x in split_photos(photos[:5], .01)] == [4, 1] and [len(x) for x in split_photos(photos[4:9], .99)] == [1, 4]
    pics = [picture(i%2) for i in range(6)]
    a,b = split_photos(pics, .9)
    assert len(a) == len(b) == 3 and a[0] == a[1] != b[0]

def test_valid_as_folder_and_list(album, tmp_path_factory):
    other = tmp_path_factory.mktemp('other'); picture(50).save(other/'v.png')
    for valid in (other, str(other), [other/'v.png'], [picture(50)]):
        dls = loaders(album, valid=valid)
        assert len(dls.train_ds) == 11 and len(dls.valid_ds) == 1 and dls.valid.one_batch()[2].shape == (1,3,32,32)

def inside(album, *names):
    (album/'val').mkdir()
    for n in names: (album/n).rename(album/'val'/n)
    return album/'val'

@pytest.mark.parametrize('how', [str, list])
def test_validation_photos_that_lie_in_the_training_folder_are_not_trained_on(album, how):
    val = inside(album, 'p00.jpg', 'p01.jpg')
    dls = loaders(album, valid=str(val) if how is str else sorted(val.iterdir()))
    assert sorted(p.name for p in dls.train_ds.photos) == [f'p{i:02d}.jpg' for i in range(2, 11)]
    assert sorted(p.name for p in dls.valid_ds.photos) == ['p00.jpg', 'p01.jpg']

def test_copies_and_links_of_validation_photos_are_not_trained_on(album):
    "Copied to the folder for validation, not moved; and under other names"
    val = inside(album, 'p00.jpg', 'p01.jpg')
    shutil.copy(val/'p00.jpg', album/'holiday.jpg'); (album/'link.jpg').symlink_to(val/'p01.jpg')
    other = bytearray((val/'p00.jpg').read_bytes()); other[-4] ^= 1; (album/'same_size.jpg').write_bytes(other)
    dls = loaders(album, valid=val)
    assert sorted(p.name for p in dls.train_ds.photos) == [f'p{i:02d}.jpg' for i in range(2, 11)] + ['same_size.jpg']

def test_a_folder_that_is_all_held_for_validation(album):
    with pytest.raises(ValueError, match='none is left to train on'): loaders(album, valid=album)

def output(folder, **files):
    folder.mkdir()
    for name,text in files.items(): (folder/name.replace('__', '.')).write_text(text)
    picture().save(folder/'sample.png')
    return folder

def test_what_our_commands_have_written_is_no_photo(album):
    output(album/'run', settings__json='{"size": 64, "versions": {"gla_inpaint": "0.1"}}')
    output(album/'holes', manifest__json='{"n": 3, "made_by": "gla_inpaint 0.1"}')
    output(album/'scores', rows__csv='bucket,photo,hole,method,photo_sha256,hole_sha256\n')
    output(album/'demo', losses__png='', inpainter__safetensors='')
    with pytest.warns(UserWarning) as caught: found = find_photos(album)
    assert [f.name for f in found] == [f'p{i:02d}.jpg' for i in range(11)]
    assert sorted(str(w.message) for w in caught) == sorted(f'skipping {album/d}: a command of gla_inpaint has written it' for d in ('run', 'holes', 'scores', 'demo'))

def test_files_of_others_with_such_names_do_no_harm(album):
    "A manifest.json comes with many datasets."
    for i,(name,text) in enumerate({'manifest__json': '{"photos": 3}', 'settings__json': '[]', 'rows__csv': 'a,b\n', 'losses__png': ''}.items()): output(album/f'd{i}', **{name: text})
    with warnings.catch_warnings():
        warnings.filterwarnings('error', 'skipping .* a command')
        warnings.filterwarnings('ignore', 'skipping .*losses.png')
        assert len(find_photos(album)) == 15

def test_links_that_lead_in_a_circle(album):
    (album/'a').mkdir(); picture(30).save(album/'a'/'x.png')
    (album/'a'/'up').symlink_to(album, target_is_directory=True); (album/'again').symlink_to(album/'a', target_is_directory=True)
    (album/'broken').symlink_to(album/'nowhere', target_is_directory=True)
    assert [f.name for f in find_photos(album)] == ['x.png'] + [f'p{i:02d}.jpg' for i in range(11)]

def test_photos_behind_a_link_are_found(album, tmp_path_factory):
    other = tmp_path_factory.mktemp('other'); picture(30).save(other/'x.png')
    (album/'elsewhere').symlink_to(other, target_is_directory=True)
    assert len(find_photos(album)) == 12

def test_a_folder_of_heic_photos_is_told_so(tmp_path):
    for i in range(3): (tmp_path/f'IMG_{i}.HEIC').write_bytes(b'\0\0\0\x18ftypheic')
    with pytest.warns(UserWarning, match='skipping 3 HEIC photos.*save them as JPEG'), pytest.raises(FileNotFoundError): find_photos(tmp_path)

def test_few_photos(album):
    one = find_photos(album)[:1]
    for photos in (one, one*3):
        with pytest.raises(ValueError, match='too few'): loaders(photos)
    assert len(loaders(one, valid=one).train) == 1, 'one short batch'
    a = loaders(find_photos(album)[:2])
    assert len(a.train_ds) == len(a.valid_ds) == 1 and a.one_batch()[0].shape[0] == 1

@pytest.mark.parametrize('kwargs', [dict(size=15), dict(size=0), dict(size=32.), dict(size='32'), dict(size=None), dict(size=(32,)), dict(size=(32,8)), dict(size=(32,32,3)),
    dict(bs=0), dict(bs=-1), dict(bs=2.), dict(valid=0.), dict(valid=1.), dict(valid=3), dict(valid=-.1), dict(valid=1.5), dict(ratio=(.5,.5)), dict(ratio=(.5,.2)), dict(ratio=(.3,1.2)), dict(seed=-1)])
def test_bad_arguments(album, kwargs):
    with pytest.raises(ValueError) as e: loaders(album, **kwargs)
    key,value = next(iter(kwargs.items()))
    assert (key if key != 'seed' else 'non-negative') in str(e.value)

def test_size_may_be_a_pair_or_numpy(album):
    assert to_pair([16,48]) == (16,48) and to_pair(np.int64(32)) == (32,32)
    assert loaders(album, size=(16,48)).one_batch()[0].shape == (3,3,16,48)

def test_sample_photos():
    photos = sample_photos()
    assert set(photos) == {'astronaut', 'chelsea', 'coffee', 'rocket', 'china', 'flower'} and set(HELD_OUT) == {'coffee', 'chelsea'}
    assert all(p.mode == 'RGB' and min(p.size) >= 300 for p in photos.values())

# --- with fastai

class Net(torch.nn.Module):
    def __init__(self): super().__init__(); self.conv = torch.nn.Conv2d(4, 3, 1)
    def forward(self, holed, mask): x = self.conv(torch.cat([holed, mask], 1)); return x,x

class Loss:
    def __call__(self, pred, truth, **kwargs): return (pred[1]-truth).abs().mean()
    def activation(self, pred): return pred
    def decodes(self, pred): return pred

class Stop(Callback):
    def after_step(self): raise CancelTrainException

def test_learner_trains_resumes_shows_and_exports(album, tmp_path_factory):
    def learner(): torch.manual_seed(0); return Learner(loaders(album, seed=9), Net(), loss_func=Loss(), path=tmp_path_factory.mktemp('run'))
    a,b = learner(),learner()
    with a.no_bar(), a.no_logging(), b.no_bar(), b.no_logging():
        a.fit(2); a.save('two'); a.fit(1)
        b.load(a.path/'models'/'two'); b.lr_find(num_it=30, show_plot=False); b.dls.train_ds.epoch = 2
        b.fit(1)
        assert all(torch.equal(x, y) for x,y in zip(a.model.parameters(), b.model.parameters())), 'resumed exactly'
        b.fit(1, cbs=Stop()); assert b.dls.train_ds.epoch == 4
        plt.close('all'); a.show_results(max_n=2)
        titles = [ax.get_title() for ax in plt.gcf().axes]
        assert titles[:5] == ['holed', 'coarse', 'refined', 'result', 'truth'] and len(titles) == 10
        a.export()
    again = load_learner(a.path/'export.pkl')
    assert len(again.dls.train_ds) == len(again.dls.valid_ds) == 0 and again.dls.train_ds.size == (32,32)
    plt.close('all')

def test_results_keep_the_known_pixels(album):
    dls = loaders(album)
    holed,mask,truth = b = dls.one_batch()
    wrong = torch.full_like(truth, .5)
    dls.train.show_results(b, (-wrong, wrong.bfloat16()), max_n=2)
    axs = plt.gcf().axes
    assert len(axs) == 10
    for row in range(2):
        got = torch.from_numpy(np.asarray(axs[5*row+3].images[0].get_array())).permute(2,0,1)*2-1
        assert torch.allclose(got, torch.where(mask[row]==1, truth[row], wrong[row]), atol=1e-5)
    plt.close('all')

def test_show_rows():
    fig = show_rows([[torch.full((3,8,8), v) for v in (-1., 0., 3.)]]*2, ('a', 'b', 'c'))
    assert [ax.get_title() for ax in fig.axes] == ['a', 'b', 'c', '', '', '']
    assert [ax.images[0].get_array().max() for ax in fig.axes[:3]] == [0, .5, 1]
    plt.close('all')

# --- the datasets of the paper, as small trees in the layouts that people have

PLACES = [f'Places365_val_{i:08}.jpg' for i in range(1, 31)]
ILSVRC = [f'ILSVRC2012_test_{i:08}.JPEG' for i in range(1, 31)]

def tree(root, *names):
    for f in (root/n for n in names):
        f.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (2,2)).save(f)
    return root

@pytest.mark.parametrize('val, train', [('val_large', 'data_large_standard'), ('val_256', 'data_256_standard'), ('val_large', 'data_large'),
                                        ('val_256', 'data_256'), ('val/kitchen', 'train')])
def test_places365_layouts(tmp_path, val, train):
    root = tree(tmp_path, *(f'{val}/{p}' for p in PLACES), f'{train}/a/attic/00000001.jpg')
    (root/'places365_val.txt').write_text(''.join(f'{p} 7\n' for p in PLACES))
    trained,test = split_places365(root, n=9, seed=3)
    assert [f.name for f in trained] == ['00000001.jpg'] and test == sorted(test) and len(set(test)) == 9 and {f.parent for f in test} == {root/val}
    assert [f.name for f in split_places365(root, n=9, seed=3)[1]] == [f.name for f in test] != [f.name for f in split_places365(root, n=9)[1]]

def test_places365_prefers_large_and_needs_no_training(tmp_path):
    root = tree(tmp_path, *(f'{d}/{p}' for d in ('val_large','val_256') for p in PLACES), 'data_256_standard/a/attic/1.jpg')
    trained,test = split_places365(str(root), n=30)
    assert trained == [] and [f.name for f in test] == PLACES and test[0].parent.name == 'val_large'

def test_half_a_download_is_noticed(tmp_path):
    root = tree(tmp_path, *(f'val_256/{p}' for p in PLACES[:20]))
    (root/'places365_val.txt').write_text(''.join(f'{p} 7\n' for p in PLACES))
    with pytest.raises(ValueError, match='10 of the 30 photos in places365_val.txt are missing.*00000021'): split_places365(root, n=5)

@pytest.mark.parametrize('where', ['.', 'ILSVRC/Data/CLS-LOC', 'Data/CLS-LOC'])
def test_imagenet_layouts(tmp_path, where):
    base = tree(tmp_path, *(f'{where}/test/{p}' for p in ILSVRC), f'{where}/train/n01440764/n01440764_10026.JPEG', f'{where}/val/x.JPEG')/where
    trained,test = split_imagenet(tmp_path, n=7)
    assert [f.name for f in trained] == ['n01440764_10026.JPEG'] and len(set(test)) == 7 and {f.parent for f in test} == {base/'test'}

@pytest.mark.parametrize('name', ['CelebA-HQ-img/{}.jpg', 'celeba_hq_256/{:05}.jpg', 'data256x256/{:05}.png', 'data1024x1024/img{:08}.png', '{:05}.jpg'])
@pytest.mark.parametrize('first', [0, 1])
def test_celeba_hq_layouts(tmp_path, name, first):
    tree(tmp_path, *(name.format(i) for i in range(first, first+25)))
    trained,test = split_celeba_hq(tmp_path, n=4)
    assert [f.relative_to(tmp_path).as_posix() for f in trained+test] == [name.format(i) for i in range(first, first+25)] and len(test) == 4

@pytest.mark.parametrize('split, says', [(split_places365, 'val_large/Places365_val_00000001.jpg'), (split_imagenet, 'test/ILSVRC2012_test_00000001.JPEG'),
                                         (split_celeba_hq, '00000.jpg 00001.jpg')])
@pytest.mark.parametrize('names', [(), ('holiday.jpg', 'beach.jpg'), ('val/n01440764/ILSVRC2012_val_00000293.JPEG', 'test/n01440764/x.JPEG', 'odd.jpg'), ('val_256/readme.txt.png',)])
def test_other_folders_are_refused_with_the_tree(tmp_path, split, says, names):
    with pytest.raises(ValueError, match='Expected is a folder') as e: split(tree(tmp_path/'root', *names), 1)
    assert says in str(e.value) and 'root' in str(e.value)

def test_gaps_and_too_many_are_refused(tmp_path):
    root = tree(tmp_path, '0.jpg', '1.jpg', '3.jpg')
    with pytest.raises(ValueError, match='do not go on by one after 1.jpg'): split_celeba_hq(root, 1)
    tree(root, '2.jpg')
    for n in (0, 4): pytest.raises(ValueError, split_celeba_hq, root, n)
    places = tree(tmp_path/'p', *(f'val_256/{p}' for p in PLACES))
    with pytest.raises(ValueError, match='from 1 to the 30'): split_places365(places)
