"The drawing widget without a browser: many random strokes, hostile messages, every kind of photo."
import json, re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from threading import Event

import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from gla_inpaint import draw
from gla_inpaint.draw import TOOLS, HoleDrawer, draw_stroke, hole_to_png, png_to_hole, stroke_area
from gla_inpaint.generator import Inpainter
from gla_inpaint.weights import InpaintError

torch.set_num_threads(1)
torch.manual_seed(0)
NET = Inpainter(4).eval()
NET.size = 32
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30,44,3), np.uint8))


def drawer(**kwargs): return HoleDrawer(PHOTO, model=NET, **kwargs)


def box(shape=(30,44), at=(5,8), side=6):
    hole = np.zeros(shape, dtype=bool)
    hole[at[0]:at[0]+side, at[1]:at[1]+side] = True
    return hole


def send(d, content):
    "As the browser would: through the widget's own channel"
    d.canvas._handle_msg(dict(content=dict(data=dict(method='custom', content=content)), buffers=[]))


def stroke(*points, tool='brush', width=6, **more): return dict(kind='stroke', tool=tool, width=width, points=[list(p) for p in points], **more)


def encoded(a, format='PNG', **kwargs):
    out = BytesIO()
    Image.fromarray(a).save(out, format, **kwargs)
    return out.getvalue()


def upload(d, content):
    d.upload.value = (dict(name='hole.png', type='image/png', size=len(content), content=memoryview(content), last_modified=datetime.now(timezone.utc)),)


# --- strokes

places = st.lists(st.tuples(st.floats(-60, 100), st.floats(-60, 100)), min_size=1, max_size=6)

@settings(max_examples=60, deadline=None, derandomize=True)
@given(places, st.floats(2, 40), st.integers(1, 50), st.integers(1, 50))
def test_a_stroke_is_every_pixel_near_its_path(points, width, h, w):
    y,x = np.mgrid[:h, :w]+.5
    near = np.full((h,w), np.inf)
    for (ax,ay),(bx,by) in zip(points, points[1:] or points):  # finely sampled, with no formula in common
        for t in np.linspace(0, 1, 400): near = np.minimum(near, np.hypot(x-ax-t*(bx-ax), y-ay-t*(by-ay)))
    area = stroke_area((h,w), np.array(points), width)
    sure = np.abs(near-width/2) > .02
    assert area.shape == (h,w) and np.array_equal(area[sure], (near <= width/2)[sure])


@pytest.mark.parametrize('tool', TOOLS)
@pytest.mark.parametrize('size', [(1,1), (3,1), (1,700), (640,480)])
def test_the_hole_has_the_size_of_the_photo(tool, size):
    d = HoleDrawer(Image.new('RGB', size), model=NET)
    width = min(6, max(2, *size))
    for points in ([(0,0), (size[0],size[1])], [(-50,-50), (900,900)]):
        send(d, stroke(*points, tool=tool, width=width))
        assert d.canvas.state == 'ready' and d.hole.shape == size[::-1] and d.hole.dtype == bool
        assert d.hole.any() == (tool != 'eraser')


def test_rectangle_any_corners():
    expected = draw_stroke(box()*False, 'rectangle', np.array([(3.,4.), (10.,12.)]), 2)
    assert expected.sum() == 7*8 and expected[4:12, 3:10].all()
    for a,b in (((10,4), (3,12)), ((3,12), (10,4)), ((10,12), (3,4))):
        assert np.array_equal(draw_stroke(box()*False, 'rectangle', np.array([a,b], dtype=float), 2), expected)


# --- steps

def test_undo_redo_clear():
    d,holes = drawer(),[]
    for x in (8, 18, 28):
        send(d, stroke((x,5), (x,25)))
        holes.append(d.hole)
    for expected in (holes[1], holes[0], 0*holes[0], 0*holes[0]):
        send(d, dict(kind='undo'))
        assert np.array_equal(d.hole, expected)
    for expected in (*holes, holes[2]):
        send(d, dict(kind='redo'))
        assert np.array_equal(d.hole, expected)
    d.clear()
    assert not d.hole.any()
    d.undo()
    assert np.array_equal(d.hole, holes[2])
    d.undo()
    send(d, stroke((2,2)))
    assert d.buttons['redo'].disabled and not d.buttons['undo'].disabled
    d.redo()
    assert np.array_equal(d.hole, holes[1] | stroke_area((30,44), np.array([(2.,2.)]), 6)), 'a new stroke forgets what was undone'


def test_what_changes_nothing_is_no_step():
    d = drawer()
    for tool in ('eraser', 'rectangle'): send(d, stroke((-9,-9), (-5,-5), tool=tool))
    d.clear()
    assert not d.history.past and d.buttons['undo'].disabled


def test_the_hole_cannot_be_changed_from_outside():
    d = drawer(hole=box())
    try: d.hole[:] = False
    except ValueError: pass
    assert np.array_equal(d.hole, box())


@pytest.mark.parametrize('name', ['undo', 'redo', 'clear', 'fill', 'cancel', 'keep', 'save', 'download'])
def test_buttons_do_what_they_say(name, monkeypatch):
    called = []
    monkeypatch.setattr(HoleDrawer, name, lambda self: called.append(name))
    drawer(hole=box()).buttons[name].click()
    assert called == [name]


def test_the_tools_of_the_buttons_are_those_of_the_canvas():
    "The browser ties the button's place to the canvas's, without Python: tests/test_browser.py"
    d = drawer()
    assert [t for _,t in d.tools.options] == d.canvas.tools == list(TOOLS) and d.tools.index == d.canvas.tool == 0


def test_the_browser_is_answered():
    "Each stroke, also one that is refused, is known by its number: only later ones are still drawn by the browser itself"
    d = drawer()
    send(d, stroke((5,5), id=1000))
    assert d.canvas.drawn['seen'] == 1000 and np.array_equal(png_to_hole(d.canvas.drawn['hole']), d.hole)
    send(d, stroke((5,5), width=None, id=2000))
    assert d.canvas.drawn['seen'] == 2000 and d.canvas.state == 'error'
    d.undo()
    assert d.canvas.drawn == dict(hole=hole_to_png(d.hole), seen=2000)


# --- nonsense

junk = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(TOOLS), lambda x: st.lists(x, max_size=4), max_leaves=8)
NAMES = ('kind', 'tool', 'width', 'points', 'id')

@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(NAMES), junk) | junk)
def test_nonsense_changes_nothing(message):
    d = drawer(hole=box())
    send(d, stroke((5,5), id=1) | message if isinstance(message, dict) else message)
    assert d.hole.shape == (30,44) and (d.canvas.state == 'error' or len(d.history.past) <= 1)
    if d.canvas.state == 'error':
        assert np.array_equal(d.hole, box()) and d.canvas.status and not d.history.past
    send(d, stroke((40,25)))
    assert d.canvas.state == 'ready' and d.hole[25,40], 'and drawing goes on'


@pytest.mark.parametrize('bad', [dict(points=[[0,float('nan')]]), dict(points=[[float('inf'),0]]), dict(points=[[1e300,0],[0,0]]), dict(points=[[10**400,0]]), dict(points=[]),
                                 dict(points=[[1]]), dict(points='ab'), dict(points={}), dict(points=[['1','2']]), dict(points=[[True,True]]), dict(tool='spray'), dict(tool=None), dict(tool=['brush']), dict(width=True),
                                 dict(tool='rectangle'), dict(width=0), dict(width=-5), dict(width=45), dict(width=float('nan')), dict(width='6'), dict(kind='explode'), dict(kind=['undo']),
                                 dict(kind='load'), dict(kind='open', part=0, parts='2')])
def test_what_is_refused(bad):
    d = drawer(hole=box())
    send(d, stroke((5,5)) | bad)
    assert d.canvas.state == 'error' and len(d.canvas.status) > 20 and np.array_equal(d.hole, box()) and not d.history.past


def test_too_many_points():
    d = drawer()
    send(d, stroke(*[(1,1)]*(draw.MANY+1)))
    assert d.canvas.state == 'error' and not d.hole.any()


# --- two threads: JupyterLab gives the browser's messages one of their own

def test_no_stroke_is_lost():
    d,n = drawer(),21
    with ThreadPoolExecutor(4) as pool: list(pool.map(lambda i: send(d, stroke((2*i+1, 3), width=2, id=i+1)), range(n)))
    assert len(d.history.past) == n and d.hole[3, :2*n].all() and d.canvas.drawn['seen'] == n


@pytest.fixture
def slow(monkeypatch):
    "`inpaint` waits: (has begun, may go on)"
    started,go = Event(),Event()
    def wait(photo, hole, model):
        started.set()
        assert go.wait(100)
        return Image.eval(photo, lambda v: 255-v)
    monkeypatch.setattr(draw, 'inpaint', wait)
    return started,go


def test_a_stroke_during_a_fill_is_drawn_at_once(slow):
    started,go = slow
    d = drawer(hole=box())
    with ThreadPoolExecutor(1) as pool:
        filling = pool.submit(d.fill)
        assert started.wait(100) and d.canvas.state == 'busy' and d.buttons['fill'].disabled
        send(d, stroke((40,25)))
        assert d.hole[25,40] and d.canvas.state == 'busy', 'the stroke is there, and it still fills'
        d.fill()
        assert 'already' in d.canvas.status, 'one fill at a time'
        go.set()
        filled = filling.result(100)
    assert d.hole[25,40] and d.filled is None and d.canvas.state == 'ready' and 'meanwhile' in d.canvas.status
    d.undo()
    assert d.filled is filled and np.array_equal(d.hole, box())
    d.redo()
    d.keep()
    assert d.photo is filled and not (d.hole & box()).any() and d.hole[25,40], 'what was drawn meanwhile is the next hole'


def test_keep_is_not_offered_after_a_result_is_out_of_date():
    d = drawer(hole=box())
    d.fill()
    assert 'keep' in d.canvas.able
    send(d, stroke((40,25)))
    assert 'keep' not in d.canvas.able
    d.keep()
    assert d.canvas.state == 'error' and 'press Fill first' in d.canvas.status and d.photo.tobytes() == PHOTO.tobytes()


def test_keep_and_undo():
    d,photos = drawer(),[PHOTO]
    for x in (8, 25, 38):
        send(d, stroke((x,5), (x,20)))
        photos.append(d.fill())
        d.keep()
        assert d.photo is photos[-1] and not d.hole.any() and d.filled is None
    for n in (3, 2, 1):
        d.undo()  # the Keep
        assert d.filled is photos[n] and np.array_equal(np.asarray(d.photo), np.asarray(photos[n-1])) and d.hole.any()
        d.undo()  # the stroke
    assert not d.history.past and np.array_equal(np.asarray(d.photo), np.asarray(PHOTO))
    for _ in range(6): d.redo()
    assert d.photo is photos[-1]


def test_cancel(slow):
    started,go = slow
    net = Inpainter(4).eval()
    d = HoleDrawer(PHOTO, box(), net)
    d.cancel()  # nothing to cancel
    def fill(photo, hole, model):
        started.set()
        assert go.wait(100)
        model(torch.zeros(1,3,32,32), torch.ones(1,1,32,32))
        raise AssertionError('the network has run to its end')
    draw.inpaint = fill  # `slow` takes it back
    with ThreadPoolExecutor(1) as pool:
        filling = pool.submit(d.fill)
        assert started.wait(100)
        send(d, dict(kind='cancel', id=7))
        net(torch.zeros(1,3,32,32), torch.ones(1,1,32,32))  # in another thread, the same network goes on
        go.set()
        assert filling.result(100) is None
    assert d.canvas.state == 'ready' and d.canvas.status.startswith('Stopped') and d.filled is None and np.array_equal(d.hole, box())
    assert not any(m._forward_pre_hooks for m in net.modules()) and d.canvas.drawn['seen'] == 7


# --- load, fill, save

def test_load():
    d = drawer()
    upload(d, encoded(box()))
    assert np.array_equal(d.hole, box()) and d.upload.value == ()
    d.undo()
    assert not d.hole.any()
    upload(d, encoded(box()))
    assert np.array_equal(d.hole, box()), 'the same file, again'
    for bad in (b'', b'no picture', encoded(box((9,9)))):
        upload(d, bad)
        assert d.canvas.state == 'error' and np.array_equal(d.hole, box())
    d.load(box((60,88), (10,16), 12), resize_hole=True)
    assert np.array_equal(d.hole, box())


def test_a_hole_that_was_saved_empty_or_full_is_loaded(tmp_path):
    for hole in (box()*False, box()|True):
        d = drawer(hole=hole)
        file = d.save(tmp_path)[0]
        for other in (drawer(hole=file), drawer(hole=box())):
            other.load(file)
            assert np.array_equal(other.hole, hole) and other.canvas.state == 'ready'
        assert other.fill() is None and 'nothing' in other.canvas.status.lower()


def test_a_file_in_pieces():
    d,data = drawer(),encoded(box())
    def piece(part, parts, content, kind='load'):
        d.canvas._handle_msg(dict(content=dict(data=dict(method='custom', content=dict(kind=kind, part=part, parts=parts, id=part+1))), buffers=[memoryview(content)]))
    piece(0, 3, data[:40])  # broken off
    piece(0, 2, data[:30])
    assert not d.hole.any() and d.canvas.drawn['seen'] == 1, 'each piece is answered'
    piece(1, 2, data[30:])
    assert np.array_equal(d.hole, box())
    piece(0, 1, encoded(np.zeros((8,9,3), np.uint8)), 'open')
    assert d.photo.size == (9,8) and d.hole.shape == (8,9) and d.canvas.size == [9,8]
    d.undo()
    assert d.photo.size == (44,30) and np.array_equal(d.hole, box()) and d.canvas.size == [44,30]


def test_another_photo_that_cannot_be_read():
    d = drawer(hole=box())
    for bad in (b'no picture', 'nowhere.png', 7):
        d.open_photo(bad)
        assert d.canvas.state == 'error' and d.photo.size == (44,30) and np.array_equal(d.hole, box()) and not d.history.past


def test_a_hole_to_begin_with():
    for hole in (box(), encoded(box()), (8,5,14,11)): assert np.array_equal(drawer(hole=hole).hole, box())
    with pytest.raises(InpaintError): drawer(hole=box((9,9)))


def test_fill():
    d,said = drawer(hole=box()),[]
    d.canvas.observe(lambda c: said.append((c['new'], d.buttons['fill'].disabled)), 'state')
    out = d.fill()
    assert [s for s,_ in said] == ['busy', 'ready'] and not d.buttons['fill'].disabled
    changed = (np.asarray(out) != np.asarray(PHOTO)).any(-1)
    assert changed[box()].mean() > .9 and not changed[~box()].any()
    assert d.compare.value == 1 and d.canvas.filled and d.filled is out
    send(d, stroke((2,2)))
    assert d.filled is None and d.canvas.filled == b'' and d.compare.value == 0
    d.undo()
    assert d.filled is out and d.canvas.filled


def test_a_fill_that_fails(tmp_path):
    d = drawer()
    assert d.fill() is None and d.canvas.state == 'error' and 'draw' in d.canvas.status
    for model in (tmp_path/'nowhere.safetensors', 7):
        d = HoleDrawer(PHOTO, box(), model)
        send(d, stroke((30,20)))
        before = d.hole
        assert d.fill() is None and d.canvas.state == 'error' and not d.buttons['fill'].disabled
        assert np.array_equal(d.hole, before) and len(d.history.past) == 1
        d.model = NET
        assert d.fill() is not None and d.canvas.state == 'ready'


@pytest.mark.parametrize('error', [RuntimeError('out of memory <b>'), KeyboardInterrupt()])
def test_any_error_keeps_the_drawing(error, monkeypatch):
    def fails(*_): raise error
    monkeypatch.setattr(draw, 'inpaint', fails)
    d = drawer(hole=box())
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt): d.fill()
    else: assert d.fill() is None
    assert d.canvas.state == 'error' and type(error).__name__ in d.canvas.status and np.array_equal(d.hole, box())


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16'])
def test_every_kind_of_photo(mode, tmp_path):
    photo = Image.fromarray(np.full((30,44), 40000, np.uint16)) if mode == 'I;16' else PHOTO.convert('LA' if mode == 'LA' else mode)
    d = HoleDrawer(photo, box(), NET)
    out = d.fill()
    assert out.mode == mode and d.canvas.state == 'ready'
    with Image.open(BytesIO(d.canvas.photo)) as shown: assert shown.size == (44,30) and shown.mode == 'RGB'
    hole,filled = d.save(tmp_path)
    with Image.open(filled) as im: assert im.mode == mode and np.array_equal(np.asarray(im), np.asarray(out))
    assert np.array_equal(np.asarray(Image.open(hole)), box())


def test_a_turned_photo_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    d = HoleDrawer(encoded(np.asarray(PHOTO), exif=exif), model=NET)
    assert d.hole.shape == (44,30) and d.canvas.size == [30,44]
    with Image.open(BytesIO(d.canvas.photo)) as shown: assert shown.size == (30,44)


def test_a_large_photo_is_shown_small_and_drawn_large():
    d = HoleDrawer(Image.new('RGB', (4000,3000)), model=NET)
    with Image.open(BytesIO(d.canvas.photo)) as shown: assert shown.size == (1600,1200)
    send(d, stroke((3990,2990), width=20))
    assert d.hole.shape == (3000,4000) and d.hole[2990,3990] and len(d.canvas.drawn['hole']) < 20_000
    assert png_to_hole(d.canvas.drawn['hole']).shape == (1000,1334), 'a third of it: what a screen can show'
    send(d, dict(kind='look', box=[3900,2900,4000,3000]))
    assert np.array_equal(png_to_hole(d.canvas.near_hole['hole']), d.hole[2900:, 3900:]), 'and each pixel of what is looked at'
    with Image.open(BytesIO(d.canvas.near['photo'])) as near: assert near.size == (100,100)
    send(d, stroke((3950,2950), width=20))
    assert np.array_equal(png_to_hole(d.canvas.near_hole['hole']), d.hole[2900:, 3900:]), 'also after the next stroke'
    for bad in (None, [0,0,5000,10], [5,5,5,9], [0.,0.,9.,9.], 'abcd', [-1,0,9,9]):
        send(d, dict(kind='look', box=bad))
        assert d.canvas.near_hole == {} and not d.canvas.near.get('photo') and d.canvas.state == 'ready'


def test_a_stroke_on_a_photo_of_a_hundred_megapixels_looks_at_few_pixels(monkeypatch):
    "No clock: what would make it slow is forbidden instead. Nothing is unpacked, and pictures for the eye are small."
    d = HoleDrawer(Image.new('L', (12000,9000)), model=NET)
    jpegs = []
    monkeypatch.setattr(draw, '_unpack', lambda *_: 1/0)
    monkeypatch.setattr(draw, 'to_jpeg', lambda im: jpegs.append(im))
    for tool,points in (('brush', [(100,100), (8000,6000)]), ('eraser', [(300,300)]), ('rectangle', [(9000,0), (9900,900)])): send(d, stroke(*points, tool=tool, width=500))
    assert d.canvas.state == 'ready' and len(d.history.past) == 3 and not jpegs
    assert max(png_to_hole(d.canvas.drawn['hole']).shape) <= draw.VIEW and sum(len(packed) for _,packed in d.history.past) < 1e6


def test_a_photo_that_is_large_and_grey_with_sixteen_bits_looks_as_it_is():
    "Pillow resizes I;16B wrongly"
    ramp = np.linspace(0, 65535, 4000).round()[None].repeat(40, 0)
    copies = []
    for order,mode in (('<u2', 'I;16'), ('>u2', 'I;16B')):
        d = HoleDrawer(Image.frombytes(mode, (4000,40), ramp.astype(order).tobytes()), model=NET)
        with Image.open(BytesIO(d.canvas.photo)) as im: copies.append(np.asarray(im)[8,:,0]/255)
    assert np.abs(copies[0]-np.linspace(0, 1, 1600)).max() < .02 and np.array_equal(*copies)


def test_saving_writes_over_nothing(tmp_path):
    d = drawer(hole=box())
    assert [p.name for p in d.save(tmp_path)] == ['hole-1.png']
    d.fill()
    assert [p.name for p in d.save(tmp_path)] == ['hole-2.png', 'filled-2.png']
    filled = np.asarray(d.filled)
    d.keep()
    assert [p.name for p in d.save(tmp_path)] == ['hole-3.png', 'filled-3.png'], 'what was kept is saved'
    with Image.open(tmp_path/'filled-3.png') as im: assert np.array_equal(np.asarray(im), filled)
    (tmp_path/'file').write_text('')
    assert d.save(tmp_path/'file') is None and d.canvas.state == 'error' and 'file is a file' in d.canvas.status and d.photo.tobytes() == filled.tobytes()


# --- the page about it

ROOT = Path(__file__).parent.parent

def test_the_page_shows_the_file_as_it_is():
    "Parts of draw.js are stored in the notebook: make notebooks brings them up to date"
    file,n = (ROOT/'gla_inpaint/static/draw.js').read_text(),0
    for cell in json.loads((ROOT/'nbs/10_draw.ipynb').read_text())['cells']:
        for text in (''.join(o['data']['text/markdown']) for o in cell.get('outputs', []) if 'text/markdown' in o.get('data', {})):
            for part in re.findall(r'```js\n(.*?)```', text, re.S):
                n += 1
                assert all(f.strip() in file for f in part.split('\n\n')), f"{cell['id']} is not what draw.js says"
    assert n >= 3


def test_pictures_of_the_board():
    images = ROOT/'nbs/images'
    for path in images.glob('draw*'): assert path.stat().st_size < 200_000, path.name
    with Image.open(images/'draw.webp') as film:
        times = [(film.seek(i), film.load(), film.info['duration'])[-1] for i in range(film.n_frames)]
        assert 8_000 < sum(times) < 13_000 and film.info['loop'] == 0
