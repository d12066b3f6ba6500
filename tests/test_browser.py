"""The drawing board in a real browser, Debian's Chromium, with a real pointer: in JupyterLab what needs JupyterLab, all else on a page of its own (board.py).

Everything runs on this machine, without a network. What is missing is said in the summary, and the tests are skipped."""
import json, os, socket, subprocess, sys, time, warnings
from base64 import b64decode
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from threading import Event
from urllib.request import urlopen

import numpy as np, pytest, torch
from PIL import Image

from board import CHROMIUM, board, browser
from gla_inpaint.generator import Inpainter

MISSING = [name for name in ('jupyterlab', 'playwright') if find_spec(name) is None]
HOW = ([f"pip install {' '.join(MISSING)}"] if MISSING else []) + ([] if CHROMIUM else ["apt-get install chromium"])
if HOW: warnings.warn(f"THE BROWSER TESTS ARE SKIPPED, the drawing widget is not tested in a browser. To run them: {'; '.join(HOW)}")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(HOW), reason='; '.join(HOW))]

SIZE = (1600,1000)  # width and height of the photo, larger than the place for it on the screen
CELL = """
import json, os, time, numpy as np, torch
from pathlib import Path
from gla_inpaint.draw import HoleDrawer
from gla_inpaint.generator import Inpainter
torch.set_num_threads(1); torch.manual_seed(0)
net = Inpainter(4).eval()
net.size = 32
def wait(*_):
    "As long as there is this file, 20 seconds at most"
    for _ in range(400*Path('wait').exists()): Path('wait').exists() and time.sleep(.05)
net.register_forward_pre_hook(wait)
drawer = HoleDrawer('photo.png', model=net)
from threading import RLock
turn = RLock()  # messages from the browser come in another thread
def report(_=None):
    "Write what Python knows, each time that it changes; the name appears when the file is complete"
    with turn: write()
def write():
    state = dict(past=len(drawer.history.past), size=drawer.photo.size, brush=drawer.brush.value, reveal=drawer.compare.value, tool=drawer.canvas.tools[drawer.canvas.tool],
                 state=drawer.canvas.state, status=drawer.canvas.status)
    arrays = dict(hole=drawer.hole) | ({} if drawer.filled is None else dict(filled=np.asarray(drawer.filled)))
    np.savez('part.npz', state=json.dumps(state), **arrays)
    os.replace('part.npz', 'seen.npz')
drawer.canvas.observe(report, ['drawn', 'filled', 'tool', 'state', 'status'])
for slider in (drawer.brush, drawer.compare): slider.observe(report, 'value')
report()
drawer
"""


def wait_for(check, what, seconds=60):
    "What `check` returns as soon as that is true"
    end = time.monotonic()+seconds
    while time.monotonic() < end:
        if (got := check()): return got
        time.sleep(.05)
    raise AssertionError(f'{seconds} seconds, and still not: {what}')


def free_port():
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); return s.getsockname()[1]


def photo():
    y,x = np.mgrid[:SIZE[1], :SIZE[0]]
    return np.stack([x*255/SIZE[0], y*255/SIZE[1], 0*x+128], -1).astype(np.uint8)


@contextmanager
def served(home, app, where, *options):
    "JupyterLab or Notebook in a folder of its own: (folder, function from a notebook's name to its address)"
    folder,settings = home/'work',home/'settings/@jupyterlab/apputils-extension'
    folder.mkdir(); settings.mkdir(parents=True)
    (settings/'notification.jupyterlab-settings').write_text(json.dumps(dict(fetchNews='false', checkForUpdates=False)))
    port,token = free_port(),os.urandom(16).hex()
    env = os.environ | {'JUPYTERLAB_SETTINGS_DIR': str(home/'settings'), 'JUPYTERLAB_WORKSPACES_DIR': str(home/'workspaces'), 'IPYTHONDIR': str(home/'ipython'),
                        'OMP_NUM_THREADS': '1', 'JUPYTER_TOKEN': token} | {f'JUPYTER_{k}_DIR': str(home/k) for k in ('CONFIG', 'DATA', 'RUNTIME')}
    with open(home/'log', 'w') as log:
        server = subprocess.Popen([sys.executable, '-m', app, '--ip=127.0.0.1', f'--port={port}', '--no-browser', '--allow-root', '--expose-app-in-browser',
                                   f'--ServerApp.root_dir={folder}', *options], env=env, cwd=folder, stdout=log, stderr=log)
    def answers():
        assert server.poll() is None, (home/'log').read_text()
        try: return urlopen(f'http://127.0.0.1:{port}/api?token={token}').status == 200
        except OSError: return False
    try:
        wait_for(answers, f'{app} answers', 60)
        yield folder,lambda name: f'http://127.0.0.1:{port}/{where(name)}?token={token}'
    finally:
        server.terminate()  # it ends its kernels
        try: server.wait(20)
        except subprocess.TimeoutExpired: server.kill()


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    def where(name): return f'lab/workspaces/{Path(name).parent}/tree/{name}'
    with served(tmp_path_factory.mktemp('lab'), 'jupyterlab', where, '--LabApp.extension_manager=readonly') as s: yield s


@pytest.fixture(scope='module')
def notebook7(tmp_path_factory):
    pytest.importorskip('notebook', minversion='7', reason='Notebook 7 is not installed')
    with served(tmp_path_factory.mktemp('notebook'), 'notebook', lambda name: f'notebooks/{name}') as s: yield s


@pytest.fixture(scope='module')
def chromium():
    with browser() as b: yield b


class Drawing:
    "A drawer on a page, and what its kernel knows"
    def __init__(self, page, folder):
        self.page,self.folder = page,folder
        self.canvas = page.locator('.gla-draw canvas')
        self.canvas.wait_for(timeout=60_000)
        self.canvas.scroll_into_view_if_needed()

    def seen(self):
        "(state, hole, filled or None)"
        with np.load(self.folder/'seen.npz') as f: return json.loads(str(f['state'])),f['hole'],f['filled'] if 'filled' in f else None

    def until(self, check, what): return wait_for(lambda: check(*self.seen()) and self.seen(), what)

    def button(self, name): return self.page.locator('.jp-OutputArea').get_by_role('button', name=name, exact=True)

    def pick(self, tool):
        self.button(tool).click()
        self.until(lambda s, *_: s['tool'] == tool.lower(), f'the tool is {tool}')

    def stroke(self, *points, steps=1):
        "Drag along points, given as shares of the canvas; returns them in photo pixels, computed here"
        box = self.canvas.bounding_box()
        at = [(round(box['x']+x*box['width']), round(box['y']+y*box['height'])) for x,y in points]
        past,mouse = self.seen()[0]['past'],self.page.mouse
        mouse.move(*at[0]); mouse.down()
        for x,y in at[1:]: mouse.move(x, y, steps=steps)
        assert self.seen()[0]['past'] == past, 'only a finished stroke crosses to Python'
        mouse.up()
        self.until(lambda s, *_: s['past'] == past+1, 'the stroke has come')
        return (np.array(at)-(box['x'],box['y']))/(box['width'],box['height'])*SIZE


@contextmanager
def opened(lab, chromium, ratio, **kwargs):
    "A new notebook, run, in a window of its own"
    folder,address = lab
    folder = folder/f'ratio{ratio}'
    folder.mkdir()
    Image.fromarray(photo()).save(folder/'photo.png')
    cell = dict(cell_type='code', id='a', metadata={}, execution_count=None, outputs=[], source=CELL)
    spec = dict(name='python3', display_name='Python 3', language='python')  # without it, JupyterLab asks which kernel
    (folder/'draw.ipynb').write_text(json.dumps(dict(cells=[cell], metadata=dict(kernelspec=spec), nbformat=4, nbformat_minor=5)))
    context = chromium.new_context(device_scale_factor=ratio, viewport=dict(width=1200, height=1500), **kwargs)
    context.set_default_timeout(120_000)
    try:
        page = context.new_page()
        page.goto(address(f'{folder.name}/draw.ipynb'))
        page.locator('.jp-Notebook .jp-CodeCell').first.wait_for(timeout=60_000)
        page.evaluate("jupyterapp.restored.then(() => jupyterapp.shell.currentWidget.sessionContext.ready).then(() => null)")  # earlier, running is lost
        page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
        yield Drawing(page, folder)
    finally: context.close()


@pytest.fixture(scope='module')
def drawing(lab, chromium):
    with opened(lab, chromium, 1) as d: yield d


def near_path(points, width):
    "[H,W] bool: pixels whose centre is within width/2 of the path"
    y,x = np.mgrid[:SIZE[1], :SIZE[0]]+.5
    near = np.zeros(SIZE[::-1], dtype=bool)
    for a,b in zip(points, points[1:]):
        d = b-a
        t = (((x-a[0])*d[0]+(y-a[1])*d[1])/(d@d)).clip(0, 1)
        near |= np.hypot(x-a[0]-t*d[0], y-a[1]-t*d[1]) <= width/2
    return near


def iou(a, b): return (a & b).sum()/(a | b).sum()


def nothing_drawn(d):
    d.button('Clear').click()
    d.until(lambda s, hole, _: not hole.any(), 'nothing is drawn')


def strokes_land_where_they_were_drawn(d):
    nothing_drawn(d)
    assert d.canvas.bounding_box()['width'] < SIZE[0], 'this photo is shown smaller than it is'
    d.pick('Brush')
    width = d.seen()[0]['brush']
    fast = d.stroke((.1,.2), (.8,.3), (.5,.8))  # three places only: Python must have the lines between them
    one = d.seen()[1]
    slow = d.stroke((.1,.6), (.3,.9), steps=25)
    _,hole,_ = d.seen()
    assert one.shape == hole.shape == SIZE[::-1] and hole.dtype == bool
    assert iou(one, near_path(fast, width)) > .95
    both = near_path(fast, width) | near_path(slow, width)
    assert iou(hole, both) > .95
    d.button('Undo').click()
    assert np.array_equal(d.until(lambda s, hole, _: hole.sum() == one.sum(), 'undone')[1], one)
    d.button('Redo').click()
    assert np.array_equal(d.until(lambda s, h, _: h.sum() == hole.sum(), 'done again')[1], hole)
    return hole


def filling_changes_the_hole_alone(d):
    hole = d.seen()[1]
    d.canvas.evaluate("""c => { const el = c.closest('.gla-draw'); window.states = [];
        new MutationObserver(() => states.push([el.dataset.state, el.innerText])).observe(el, {attributes: true, childList: true, subtree: true}); }""")
    d.button('Fill').click()
    _,same,filled = d.until(lambda s, h, filled: filled is not None and s['state'] == 'ready' and s['reveal'] == 1, 'filled')
    changed = (filled != photo()).any(-1)
    # a smooth colour may be filled exactly as it was
    assert np.array_equal(same, hole) and changed[hole].mean() > .5 and not changed[~hole].any()
    wait_for(lambda: d.page.evaluate("states.length && states.at(-1)[0] == 'ready'"), 'the page shows that it is done')
    assert any(s == 'busy' and 'Filling' in text for s,text in d.page.evaluate("states")), 'the page showed that it was working'
    return filled


def test_strokes(drawing): strokes_land_where_they_were_drawn(drawing)


def pixels(d):
    "[H,W,3]: the canvas as the browser holds it"
    d.page.wait_for_timeout(500)
    png = d.canvas.evaluate("c => c.toDataURL('image/png')")
    return np.asarray(Image.open(BytesIO(b64decode(png.split(',')[1]))).convert('RGB')).astype(int)


def at_size(a, shown): return np.asarray(Image.fromarray(a).resize(shown.shape[1::-1]))


def test_strokes_at_pixel_ratio_2_and_touch(lab, chromium):
    with opened(lab, chromium, 2, has_touch=True) as d:
        hole = strokes_land_where_they_were_drawn(d)
        box = d.canvas.bounding_box()
        d.page.mouse.move(box['x']-9, box['y']+9)
        shown = pixels(d)
        assert abs(shown.shape[1]-2*box['width']) <= 1, 'as many pixels as the screen has'
        tinted = np.abs(shown-at_size(photo(), shown)).max(-1) > 15
        assert iou(tinted, at_size(hole, shown)) > .95, 'the hole is shown where it is'
        x,y = round(box['x']+.9*box['width']),round(box['y']+.9*box['height'])
        d.page.touchscreen.tap(x, y)
        state,touched,_ = d.until(lambda s, h, _: h.sum() > hole.sum(), 'a finger draws')
        place = (np.array([x,y])-(box['x'],box['y']))/(box['width'],box['height'])*SIZE
        assert iou(touched & ~hole, near_path([place, place+1e-6], state['brush'])) > .95
        filling_changes_the_hole_alone(d)


def test_eraser_and_rectangle(drawing):
    nothing_drawn(drawing)
    drawing.pick('Rectangle')
    (l,t),(r,b) = drawing.stroke((.3,.3), (.6,.7), steps=5)
    box = np.zeros(SIZE[::-1], dtype=bool)
    box[round(t):round(b), round(l):round(r)] = True
    assert iou(drawing.seen()[1], box) > .99
    drawing.pick('Eraser')
    gone = drawing.stroke((.2,.5), (.7,.5))
    rest = box & ~near_path(gone, drawing.seen()[0]['brush'])
    assert iou(drawing.seen()[1], rest) > .95


def test_keys_and_labels(drawing):
    keys = drawing.page.keyboard
    drawing.pick('Brush')
    drawing.stroke((.2,.2), (.4,.2))
    state,hole,_ = drawing.seen()
    keys.press('Control+z')
    drawing.until(lambda s, h, _: s['past'] == state['past']-1, 'Ctrl+Z undoes')
    keys.press('Control+Shift+Z')
    drawing.until(lambda s, h, _: np.array_equal(h, hole), 'Ctrl+Shift+Z redoes')
    keys.press('Control+z')
    drawing.until(lambda s, h, _: s['past'] == state['past']-1, 'Ctrl+Z undoes again')
    keys.press('Control+y')
    drawing.until(lambda s, h, _: np.array_equal(h, hole), 'Ctrl+Y redoes')
    keys.press(']')
    wider = drawing.until(lambda s, *_: s['brush'] > state['brush'], '] widens the brush')[0]['brush']
    line = drawing.stroke((.1,.8), (.5,.8))
    assert iou(drawing.seen()[1], hole | near_path(line, wider)) > .95
    keys.press('[')
    drawing.until(lambda s, *_: s['brush'] < wider, '[ narrows it')
    assert '1600 by 1000' in drawing.canvas.get_attribute('aria-label')
    for name in ('Brush', 'Eraser', 'Rectangle', 'Undo', 'Redo', 'Clear', 'Open photo', 'Load hole', 'Fill', 'Keep', 'Save', 'Download'): assert drawing.button(name).count() == 1, name
    assert 'of the photo' in drawing.page.get_by_role('status').filter(has_text='hole').inner_text()


FOCUSABLE = 'canvas, button, input:not([type=file]), [tabindex="0"]'
LETTERS = 'abxddmzvyr'

def test_letters_do_not_reach_the_notebook(drawing):
    "a, b, x, d d and m would insert, cut, delete and change cells"
    nothing_drawn(drawing)
    drawing.stroke((.2,.2), (.4,.2))
    hole,board = drawing.seen()[1],drawing.page.locator('.jp-OutputArea-output', has=drawing.canvas)
    places = board.locator(FOCUSABLE).all()
    assert len(places) > 15
    for place in places:
        if not place.is_visible(): continue
        place.focus()
        for key in LETTERS: drawing.page.keyboard.press(key)
        assert drawing.page.locator('.jp-Cell').count() == 1, place.evaluate('e => e.outerHTML')
        assert drawing.page.locator('.jp-CodeCell').count() == 1 and drawing.canvas.is_visible()
    assert np.array_equal(drawing.seen()[1], hole)


def test_ctrl_s_is_jupyterlab_s_own(drawing):
    "It saves the notebook as ever, each time, and the board does nothing"
    holes = len(list(drawing.folder.glob('hole-*')))
    drawing.page.evaluate("window.ran = []; void jupyterapp.commands.commandExecuted.connect((_, c) => ran.push(c.id))")
    drawing.canvas.focus()
    for n in (1, 2):
        drawing.page.keyboard.press('Control+s')
        wait_for(lambda: drawing.page.evaluate("ran").count('docmanager:save') == n, 'JupyterLab saves')
    drawing.page.keyboard.press('b')
    assert drawing.page.locator('.jp-Cell').count() == 1, 'and letters are off again'
    assert len(list(drawing.folder.glob('hole-*'))) == holes


@pytest.mark.parametrize('name', ['Rectangle', 'Clear', 'Load hole'])
def test_ctrl_z_after_a_button(drawing, name):
    nothing_drawn(drawing)
    drawing.pick('Brush')
    drawing.stroke((.2,.2), (.4,.2))
    past = drawing.seen()[0]['past']
    if name == 'Load hole': drawing.button(name).focus()
    else: drawing.button(name).click()
    drawing.page.keyboard.press('Control+z')
    drawing.until(lambda s, h, _: s['past'] == past-1 if name != 'Clear' else h.any(), f'Ctrl+Z works after {name}')


def test_load_and_fill(drawing, tmp_path):
    hole = np.zeros(SIZE[::-1], dtype=bool)
    hole[300:420, 500:700] = True
    Image.fromarray(hole).save(tmp_path/'hole.png')
    for file in (tmp_path/'hole.png', tmp_path/'hole.png'):  # the same file again is loaded again
        nothing_drawn(drawing)
        with drawing.page.expect_file_chooser() as chooser: drawing.button('Load hole').click()
        chooser.value.set_files(file)
        drawing.until(lambda s, h, _: np.array_equal(h, hole), 'the hole is loaded')
    filled = filling_changes_the_hole_alone(drawing)
    after,handle = pixels(drawing),drawing.page.get_by_role('slider').last
    handle.press('End')
    drawing.until(lambda s, *_: s['reveal'] == 0, 'the line is at the right end: all is before')
    differ = np.abs(after-pixels(drawing)).max(-1) > 12
    assert iou(differ, at_size(hole, after)) > .8, 'before and after differ in the hole alone'
    drawing.button('Save').click()
    drawing.until(lambda s, *_: s['status'].startswith('Saved'), 'saved')
    with Image.open(drawing.folder/'filled-1.png') as saved: assert np.array_equal(np.asarray(saved), filled)
    with Image.open(drawing.folder/'hole-1.png') as saved: assert np.array_equal(np.asarray(saved), hole)


def test_an_error_is_a_line_and_keeps_the_drawing(drawing):
    nothing_drawn(drawing)
    drawing.button('Fill').click()
    drawing.until(lambda s, *_: s['state'] == 'error', 'the error has come')
    line = drawing.page.get_by_role('status').filter(has_text='Nothing to fill yet')
    line.wait_for(timeout=10_000)
    drawing.page.wait_for_timeout(500)
    assert 'Traceback' not in drawing.page.locator('.jp-Notebook').inner_text()
    drawing.button('Undo').click()
    drawing.until(lambda s, h, _: h.any(), 'the hole is back')


def test_fill_is_cancelled_and_one_draws_on_meanwhile(drawing):
    nothing_drawn(drawing)
    drawing.pick('Brush')
    drawing.stroke((.2,.2), (.4,.2))
    one = drawing.seen()[1]
    (drawing.folder/'wait').touch()
    try:
        drawing.button('Fill').click()
        drawing.until(lambda s, *_: s['state'] == 'busy', 'it fills')
        drawing.stroke((.2,.7), (.4,.7))
        state,both,filled = drawing.seen()
        assert state['state'] == 'busy' and both.sum() > one.sum() and (both & one).sum() == one.sum() and filled is None
        drawing.button('Cancel').click()
    finally: (drawing.folder/'wait').unlink()
    _,hole,filled = drawing.until(lambda s, *_: s['status'].startswith('Stopped') and s['state'] == 'ready', 'it has stopped')
    assert filled is None and np.array_equal(hole, both)
    drawing.button('Fill').wait_for(timeout=10_000)


def test_a_large_photo_arrives(drawing, tmp_path):
    "A file of 20 MB, twice what Jupyter's server takes in one message; undo brings the first photo back"
    noise = np.random.default_rng(0).integers(0, 256, (2400,2800,3), np.uint8)
    Image.fromarray(noise).save(tmp_path/'noise.png', compress_level=1)
    assert (tmp_path/'noise.png').stat().st_size > 18e6
    before = drawing.seen()[1]
    with drawing.page.expect_file_chooser() as chooser: drawing.button('Open photo').click()
    chooser.value.set_files(tmp_path/'noise.png')
    drawing.until(lambda s, h, _: s['size'] == [2800,2400] and h.shape == (2400,2800), 'the photo is there')
    drawing.button('Undo').click()
    drawing.until(lambda s, h, _: s['size'] == list(SIZE) and np.array_equal(h, before), 'the first photo is back, and its hole')


def test_a_kernel_that_is_gone_is_seen(drawing):
    "Last in this window: what was drawn is saved by the browser alone"
    nothing_drawn(drawing)
    drawing.pick('Brush')
    drawing.stroke((.2,.2), (.6,.4))
    hole = drawing.seen()[1]
    drawing.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart().then(() => null)")
    drawing.page.get_by_role('status').filter(has_text='has not answered').wait_for(timeout=60_000)
    with drawing.page.expect_download() as file: drawing.button('Download').click()
    with Image.open(file.value.path()) as im: saved = np.asarray(im.convert('L')) > 127
    assert saved.shape == hole.shape and iou(saved, hole) > .99


def test_notebook_7(notebook7, chromium):
    with opened(notebook7, chromium, 1) as d:
        strokes_land_where_they_were_drawn(d)
        filling_changes_the_hole_alone(d)


# --- on a page of its own

def tiny():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = Inpainter(4).eval()
    net.size = 32
    return net


NET = tiny()


def slow(go):
    "A network that waits"
    net = tiny()
    net.register_forward_pre_hook(lambda *_: None if go.wait(100) else None)
    return net


def scene():
    "A photo with so much in it that no fill looks like it"
    blocks = np.random.default_rng(0).integers(0, 256, (20,30,3), np.uint8)
    return Image.fromarray(blocks).resize((600,400), Image.Resampling.NEAREST)


@pytest.fixture
def page(chromium):
    with board(chromium, scene(), model=NET) as b: yield b


def shown(b, a): return np.asarray(Image.fromarray(a).resize(b.canvas.evaluate("c => [c.width, c.height]")))


def fill(b):
    b.button('Fill').click()
    return b.until(lambda: b.drawer.filled, 'filled')


def test_three_strokes_remove_three_things(page):
    d,first = page.drawer,np.asarray(page.drawer.photo)
    for n,x in enumerate((.2, .5, .8)):
        page.stroke((x,.2), (x,.6))
        filled = np.asarray(fill(page))
        page.button('Keep').click()
        page.until(lambda: len(d.history.past) == 2*n+2, 'kept')
        assert np.array_equal(np.asarray(d.photo), filled) and not d.hole.any() and d.filled is None
    changed = (np.asarray(d.photo) != first).any(-1)
    columns = changed.any(0).astype(int)
    assert (np.diff(columns) == 1).sum() == 3, 'in three places, and nowhere else'
    page.until(lambda: page.button('Keep').get_attribute('aria-disabled') == 'true', 'there is nothing more to keep')
    page.canvas.focus()
    page.press('Control+z')
    page.until(lambda: d.filled is not None, 'Ctrl+Z takes the last Keep back, and its result is there again')
    assert np.array_equal(np.asarray(d.filled), filled) and d.hole.any()
    for _ in range(5): page.press('Control+z')
    page.until(lambda: not d.history.past, 'all is undone')
    assert np.array_equal(np.asarray(d.photo), first)


def test_a_stroke_during_a_fill_is_kept(chromium):
    go = Event()
    with board(chromium, scene(), model=slow(go)) as b:
        b.stroke((.2,.2), (.2,.6))
        one = b.drawer.hole
        b.button('Fill').click()
        b.button('Cancel').wait_for()
        b.stroke((.7,.2), (.7,.6))
        assert 'Filling' in b.say()
        two = b.drawer.hole & ~one
        assert two.any()
        go.set()
        b.until(lambda: 'drew meanwhile' in b.say(), 'it says that it has filled without the second')
        b.button('Keep').click()
        b.until(lambda: b.drawer.history.now[0].source, 'kept')
        changed = (np.asarray(b.drawer.photo) != np.asarray(scene())).any(-1)
        assert changed[one].any() and not changed[~one].any() and np.array_equal(b.drawer.hole, two)


def test_filling_is_cancelled_by_keyboard(chromium):
    go = Event()
    with board(chromium, scene(), model=slow(go)) as b:
        b.stroke((.2,.2), (.2,.6))
        hole = b.drawer.hole
        b.button('Fill').focus()
        b.press('Enter')
        b.button('Cancel').wait_for()
        assert b.button('Cancel').evaluate('e => e == document.activeElement'), 'the focus has not moved'
        b.press('Enter')
        b.until(lambda: b.drawer._stop.is_set(), 'Cancel has come')
        go.set()
        b.until(lambda: b.say().startswith('Stopped'), 'it says so')
        assert b.drawer.filled is None and np.array_equal(b.drawer.hole, hole)
        fill(b)


def test_no_answer_is_seen_and_nothing_is_lost(chromium):
    with board(chromium, scene(), model=NET, patience=400) as b:
        b.stroke((.2,.2), (.2,.6))
        one = b.drawer.hole
        b.page.evaluate("window.gone = true")
        b.drag((.7,.2), (.7,.6))
        b.until(lambda: 'has not answered' in b.say(), 'it says that Python does not answer')
        assert np.array_equal(b.drawer.hole, one), 'Python knows nothing of the second stroke'
        with b.page.expect_download() as file: b.button('Download').click()
        with Image.open(file.value.path()) as im: saved = np.asarray(im.convert('L')) > 127
        w,h = b.drawer.photo.size
        assert saved.shape == (h,w) and saved[round(.4*h), round(.7*w)] and saved[one].mean() > .99
        b.page.evaluate("window.gone = false")
        b.page.evaluate("comm()")  # as Jupyter does when a kernel is back
        b.until(lambda: 'has not answered' not in b.say(), 'the line is as it was')
        b.button('Undo').click()
        b.until(lambda: not b.drawer.hole.any(), 'and all goes on')


# compare

def test_the_line_on_the_photo(page):
    page.stroke((.1,.5), (.9,.5))
    filled = np.asarray(fill(page)).astype(int)
    before,after = (shown(page, np.uint8(a)).astype(int) for a in (np.asarray(scene()), filled))
    edge = page.page.get_by_role('slider', name='Compare')
    assert edge.get_attribute('aria-valuenow') == '100' and np.abs(page.pixels()-after).mean() < 2, 'all is after'
    grip = edge.locator('i').bounding_box()
    x,y = grip['x']+grip['width']/2,grip['y']+grip['height']/2
    mouse = page.page.mouse
    mouse.move(x, y); mouse.down(); mouse.move(*page.at(.6,.5), steps=5); mouse.up()
    page.until(lambda: abs(page.drawer.compare.value-.4) < .02, 'the line is at 60 percent of the width')
    pixels,middle = page.pixels(),round(.6*before.shape[1])
    left,right = slice(None, middle-5),slice(middle+5, None)
    assert np.abs(pixels-before)[:,left].mean() < 2 and np.abs(pixels-after)[:,right].mean() < 2
    assert np.abs(before-after)[:,left].mean() > 3 < np.abs(before-after)[:,right].mean(), 'they differ on both sides'
    words = {word: page.page.get_by_text(word, exact=True).bounding_box() for word in ('Before', 'After')}
    line = page.at(.6,.5)[0]
    assert words['Before']['x']+words['Before']['width'] < line < words['After']['x'], 'each word lies on its side'
    assert not page.drawer.history.future and len(page.drawer.history.past) == 1, 'dragging the line draws nothing'
    edge.press('ArrowLeft')
    page.until(lambda: page.drawer.compare.value > .43, 'an arrow moves the line')


def test_hold_a_key_to_see_the_original(page):
    page.stroke((.1,.5), (.9,.5))
    original = shown(page, np.asarray(scene())).astype(int)
    def error(): return np.abs(page.pixels()-original).mean()
    keys = page.page.keyboard
    assert error() > 5, 'the hole lies over the photo'
    keys.down('c')
    assert error() < 2, 'held, the photo is clear'
    keys.up('c')
    assert error() > 5
    fill(page)
    page.button('Keep').click()
    page.until(lambda: page.drawer.canvas.original, 'kept')
    assert error() > 2
    keys.down('c')
    assert error() < 2, 'also when the photo was kept from a fill'
    keys.up('c')
    assert error() > 2


# zoom

def dot(b, x, y):
    "Touch a place; the middle of what is new, in photo pixels"
    before = b.drawer.hole
    b.stroke((x,y), (x,y))
    return np.argwhere(b.drawer.hole & ~before).mean(0)[::-1]+.5


def percent(b): return int(b.page.locator('.gla-zoom b').inner_text().rstrip('%'))


def test_the_wheel_zooms_where_the_pointer_is(page):
    page.drawer.canvas.brush = 4
    (w,h),start = page.drawer.photo.size,percent(page)
    assert np.abs(dot(page, .3,.4)-(.3*w,.4*h)).max() < 1.5
    page.page.mouse.wheel(0, -600)
    page.until(lambda: percent(page) > 2*start, 'it is larger')
    page.drawer.clear()
    assert np.abs(dot(page, .3,.4)-(.3*w,.4*h)).max() < 1.5, 'what lay under the pointer lies there'
    scale = percent(page)/100
    box = page.canvas.bounding_box()
    expected = .3*w+.5*box['width']/scale
    assert abs(dot(page, .8,.4)[0]-expected) < 2, 'and what is drawn beside it lands where it was drawn'
    page.press('Escape')
    page.until(lambda: percent(page) == start, 'Esc shows the whole photo')
    page.page.mouse.wheel(0, 600)
    page.page.wait_for_timeout(200)
    assert percent(page) == start, 'there is nothing smaller than the whole'


def test_the_page_scrolls_until_the_photo_is_clicked(page):
    start = percent(page)
    page.page.mouse.move(*page.at(.5,.5))
    page.page.mouse.wheel(0, -400)
    page.until(lambda: 'Click the photo' in page.page.locator('.gla-hint').inner_text(), 'it says how to zoom')
    assert percent(page) == start


def test_space_and_drag_moves(page):
    page.drawer.canvas.brush = 4
    before = dot(page, .5,.5)
    page.press('+', '+')
    page.drawer.clear()
    page.page.keyboard.down(' ')
    page.drag((.5,.5), (.6,.5))
    page.page.keyboard.up(' ')
    assert not page.drawer.hole.any(), 'nothing was drawn'
    moved = dot(page, .6,.5)
    assert np.abs(moved-before).max() < 2, 'the photo has come along with the pointer'
    page.page.mouse.move(*page.at(.9,.9))


def test_two_fingers_zoom_and_draw_nothing(chromium):
    with board(chromium, scene(), model=NET, has_touch=True) as b:
        start,cdp = percent(b),b.page.context.new_cdp_session(b.page)
        def touch(kind, *places):
            points = [dict(zip('xy', b.at(*p)), id=i) for i,p in enumerate(places)]
            cdp.send('Input.dispatchTouchEvent', dict(type=kind, touchPoints=points))
        touch('touchStart', (.45,.5))
        touch('touchStart', (.45,.5), (.55,.5))
        for d in (.1, .15, .2): touch('touchMove', (.5-d,.5), (.5+d,.5))
        touch('touchEnd')
        b.until(lambda: percent(b) > 2.5*start, 'it is larger')
        b.page.wait_for_timeout(200)
        assert not b.drawer.history.past, 'neither finger has drawn'
        b.page.touchscreen.tap(*b.at(.5,.5))
        b.until(lambda: b.drawer.hole.any(), 'one finger draws again')


@pytest.mark.parametrize('size', [(300,6000), (6000,300)], ids=['receipt', 'panorama'])
def test_long_photos_are_readable(chromium, size):
    "Lines one pixel wide in a photo twenty times as long as wide are seen, and a stroke lands on the one under the pointer"
    along = int(size[0] < size[1])
    stripes = (np.arange(max(size)) % 20 < 10)*np.uint8(255)
    picture = Image.fromarray(np.broadcast_to(stripes[:,None] if along else stripes[None], size[::-1]).copy())
    with board(chromium, picture, model=NET) as b:
        box = b.canvas.bounding_box()
        assert min(box['width'], box['height']) > 300, 'and not a strip'
        b.until(lambda: b.drawer.canvas.near.get('photo'), 'the part that is seen has come')
        line = b.pixels()[...,0].mean(along)
        flips = (np.diff((line > 128).astype(int)) != 0).sum()
        seen = (box['height'] if along else box['width'])/(percent(b)/100)/10
        assert abs(flips-seen) <= 2 and line.min() < 60 and line.max() > 195, 'each stripe is there'
        b.drawer.canvas.brush = 6
        place = dot(b, .5,.5)
        scale = percent(b)/100
        expected = (.5*box['height' if along else 'width'])/scale
        assert abs(place[along]-expected) < 3
        tinted = b.pixels()
        y,x = tinted.shape[0]//2,tinted.shape[1]//2
        b.page.mouse.move(*b.at(.1,.1))
        colour = b.pixels()[y,x]
        assert colour[0]-colour[1] > 60 and colour[2]-colour[1] > 60, 'the hole is shown where it was drawn'


# the bar

def test_the_ring_is_as_wide_as_the_brush(page):
    page.drawer.canvas.brush = 60
    page.page.mouse.move(*page.at(.5,.5))
    clear,scale = page.pixels(),percent(page)/100
    page.page.mouse.move(5, 5)
    ring = np.argwhere(np.abs(page.pixels()-clear).max(-1) > 40)
    across = ring.max(0)-ring.min(0)
    assert np.abs(across-60*scale).max() < 4 and len(ring) < 60*scale*8, 'a ring, and not a disc'


def test_opacity(page):
    page.stroke((.3,.5), (.7,.5))
    page.page.mouse.move(5, 5)
    slider,photo = page.page.get_by_role('slider', name='Opacity'),shown(page, np.asarray(scene())).astype(int)
    tint = []
    for key in ('Home', 'End'):
        slider.press(key)
        tint.append(np.abs(page.pixels()-photo).mean())
    assert tint[1] > 2*tint[0] > 0
    slider = page.page.get_by_role('slider', name='Size')
    slider.press('End')
    page.until(lambda: page.drawer.brush.value == page.drawer.canvas.largest, 'the widest brush')


def test_the_chosen_tool_is_seen_without_colour(page):
    style = "e => { const s = getComputedStyle(e); return [s.fontWeight, s.boxShadow != 'none']; }"
    for name,key in dict(Rectangle='r', Eraser='e', Brush='b').items():
        page.canvas.focus()
        page.press(key)
        page.until(lambda: page.button(name).get_attribute('aria-pressed') == 'true', f'{name} is chosen')
        looks = {n: page.button(n).evaluate(style) for n in ('Brush', 'Eraser', 'Rectangle')}
        assert looks.pop(name) == ['700', True] and all(v == ['400', False] for v in looks.values())


def test_a_photo_is_dropped(page, tmp_path):
    page.stroke((.3,.5), (.7,.5))
    hole = page.drawer.hole
    picture = Image.fromarray(photo()).resize((90,120))
    out = BytesIO()
    picture.save(out, 'PNG')
    data = page.page.evaluate_handle("""bytes => { const d = new DataTransfer();
        d.items.add(new File([new Uint8Array(bytes)], 'new.png', {type: 'image/png'})); return d; }""", list(out.getvalue()))
    page.canvas.dispatch_event('dragover', dict(dataTransfer=data))
    page.canvas.dispatch_event('drop', dict(dataTransfer=data))
    page.until(lambda: page.drawer.photo.size == (90,120), 'the photo is there')
    assert np.array_equal(np.asarray(page.drawer.photo), np.asarray(picture)) and not page.drawer.hole.any()
    page.until(lambda: '90 by 120' in page.canvas.get_attribute('aria-label'), 'the canvas says so')
    page.stroke((.3,.5), (.7,.5))
    page.press('Control+z', 'Control+z')
    page.until(lambda: page.drawer.photo.size == (600,400), 'undo brings the first photo back')
    assert np.array_equal(page.drawer.hole, hole)


def test_a_photo_is_pasted(chromium):
    with board(chromium, scene(), model=NET, permissions=['clipboard-read', 'clipboard-write']) as b:
        b.page.evaluate("""async () => { const c = new OffscreenCanvas(50, 70), x = c.getContext('2d'); x.fillStyle = 'rgb(10, 200, 30)';
            x.fillRect(0, 0, 50, 70); await navigator.clipboard.write([new ClipboardItem({'image/png': c.convertToBlob()})]); }""")
        b.canvas.focus()
        b.press('Control+v')
        b.until(lambda: b.drawer.photo.size == (50,70), 'the photo is there')
        assert np.asarray(b.drawer.photo.convert('RGB'))[5,5].tolist() == [10,200,30]


def test_download(page):
    page.button('Download').click()
    page.until(lambda: 'Nothing to download' in page.say(), 'it says why')
    page.stroke((.3,.5), (.7,.5))
    def downloaded():
        with page.page.expect_download() as file: page.button('Download').click()
        with Image.open(file.value.path()) as im: return file.value.suggested_filename,np.asarray(im)
    name,hole = downloaded()
    assert name == 'hole.png' and np.array_equal(hole, page.drawer.hole)
    filled = np.asarray(fill(page))
    name,saved = downloaded()
    assert name == 'filled.png' and np.array_equal(saved, filled)
    page.button('Keep').click()
    page.until(lambda: not page.drawer.hole.any(), 'kept')
    assert np.array_equal(downloaded()[1], filled), 'what was kept is not lost'


def test_a_saved_hole_without_anything_in_it_is_loaded(page, tmp_path):
    empty = page.drawer.save(tmp_path)[0]
    page.stroke((.3,.5), (.7,.5))
    with page.page.expect_file_chooser() as chooser: page.button('Load hole').click()
    chooser.value.set_files(empty)
    page.until(lambda: not page.drawer.hole.any(), 'it is loaded')
    assert page.drawer.canvas.state == 'ready'


def test_all_by_keyboard(page):
    "From the first key to the last: a tool, a stroke, a fill, keep, save. No mouse."
    keys,d = page.page.keyboard,page.drawer
    d.canvas.brush = 20
    names = []
    for _ in range(40):
        keys.press('Tab')
        if page.canvas.evaluate('c => c == document.activeElement'): break
        names.append(page.page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText"))
    assert [n.strip() for n in names] == ['Brush', 'Eraser', 'Rectangle', 'Size', 'Opacity', 'Undo', 'Redo', 'Clear', 'Open photo', 'Load hole', 'Fill', 'Keep', 'Save', 'Download']
    page.press('Enter', *['ArrowRight']*6, *['ArrowDown']*3, 'Enter')
    page.until(lambda: d.hole.any(), 'a stroke')
    (top,left),(bottom,right) = (f(np.argwhere(d.hole), 0) for f in (np.min, np.max))
    assert abs(right-left-80) <= 2 and abs(bottom-top-50) <= 2, 'six steps of half a brush to the right, three down, and the brush'
    page.press('r', 'Enter', *['ArrowLeft']*4, *['ArrowUp']*4, 'Enter')
    page.until(lambda: len(d.history.past) == 2, 'a rectangle')
    page.press('Enter', 'ArrowLeft', 'Escape')
    page.page.wait_for_timeout(200)
    assert len(d.history.past) == 2, 'Esc drops a stroke that is not finished'
    page.press('f')
    page.until(lambda: d.filled, 'F fills')
    page.until(lambda: page.button('Keep').get_attribute('aria-disabled') == 'false', 'it can be kept')
    page.press('k')
    page.until(lambda: d.history.now[0].source, 'K keeps')


def test_names_for_screen_readers(page):
    page.stroke((.3,.5), (.7,.5))
    fill(page)
    page.page.get_by_role('slider', name='Compare').wait_for()
    snapshot = page.page.locator('.gla-draw').aria_snapshot()
    for line in snapshot.splitlines():
        role = line.strip('- ').split()[0]
        if role in ('button', 'slider', 'application', 'group'): assert '"' in line, f'no name: {line}'
    for part in ('button "Brush" [pressed]', 'slider "Size"', 'slider "Opacity"', 'slider "Compare: how much is after"', 'button "Whole photo"', 'application "Photo, 600 by 400 pixels'):
        assert part in snapshot, (part, snapshot)
    assert page.page.get_by_role('slider', name='Size').get_attribute('aria-valuetext').endswith('px')


def contrast(a, b):
    light = [((np.array(c)/255) @ [.2126,.7152,.0722]) for c in (a, b)]  # close enough for greys
    return (max(light)**2.2+.05)/(min(light)**2.2+.05)


@pytest.mark.parametrize('dark', [False, True], ids=['light', 'dark'])
def test_words_are_legible_on_light_and_on_dark(chromium, dark):
    with board(chromium, scene(), model=NET, dark=dark) as b:
        b.page.mouse.move(2, 2)
        for name in ('.gla-bar [data-do=eraser] span', '.gla-bar [data-do=brush] span', '.gla-bar [data-do=fill] span', '.gla-slider span', '.gla-keys span', '[role=status]'):
            shot = np.asarray(Image.open(BytesIO(b.page.locator(name).first.screenshot())).convert('RGB')).reshape(-1,3).astype(float)
            grey = shot.sum(1)
            assert contrast(shot[grey.argmin()], shot[grey.argmax()]) > 4.5, name


def test_the_bar_is_one_row_and_wraps_where_there_is_no_room(chromium):
    for width,rows in ((960, 1), (390, None)):
        with board(chromium, scene(), model=NET, width=width) as b:
            tops = {round(g.bounding_box()['y']) for g in b.page.locator('.gla-bar > .gla-group').all()}
            assert len(tops) == rows if rows else len(tops) > 1
            assert b.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), 'nothing sticks out'


# --- the site's own rules, on a page with what Quarto makes of a notebook

ROOT = Path(__file__).parent.parent
LINE = 'x'*88
SITE = f"""<!doctype html><html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>html {{ font-size: 17px; }} body {{ margin: 0; font-family: sans-serif; }} main {{ max-width: 989px; margin: 0 auto; padding: 0 1rem; }}
div.sourceCode {{ overflow: auto; }} pre.sourceCode {{ padding: .4em; }} .code-overflow-wrap code {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
code {{ white-space: pre-wrap; }} .quarto-dark {{ background: #222; color: #eee; }} .quarto-light {{ background: white; color: #343a40; }}
.katex-display > span {{ display: inline-block; white-space: nowrap; }}</style><style>{(ROOT/'nbs/styles.css').read_text()}</style></head>
<body class="fullcontent THEME"><main class="content" id="quarto-document-content">
<p id="prose">Words and <code>{'long_name_'*12}</code>, a <a href="#">link</a> and a <a href="#"><code>link_in_code</code></a>.</p>
<div class="cell"><div class="sourceCode cell-code"><pre class="sourceCode python code-overflow-wrap"><code class="sourceCode" id="code"><span>{LINE}</span></code></pre></div>
<div class="cell-output cell-output-stdout"><pre id="out"><code>{'0.123456 '*30}</code></pre></div></div>
<table id="table"><tr>{'<td>unbreakable</td>'*16}</tr></table>
<span class="math display" id="math"><span class="katex-display"><span>{'E = mc + '*60}</span></span></span>
<figure><img id="image" width="2000" height="100" src="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='2000' height='100'/%3E"></figure>
<div class="toc-actions"><ul><li><a class="toc-action" href="https://github.com/someone/gla/blob/main/nbs/paper/speed.ipynb"><i></i>View source</a></li></ul></div>
</main>{(ROOT/'nbs/colab.html').read_text()}</body></html>"""


@contextmanager
def site(chromium, width, theme='quarto-light'):
    context = chromium.new_context(viewport=dict(width=width, height=900))
    try:
        page = context.new_page()
        page.set_content(SITE.replace('THEME', theme))
        yield page
    finally: context.close()


@pytest.mark.parametrize('width', [1440, 390])
def test_nothing_of_a_page_is_cut(chromium, width):
    with site(chromium, width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width, 'the page itself does not scroll sideways'
        inside = page.evaluate("""() => [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth+1
            && !e.parentElement.closest('table, .math, pre, .sourceCode')).map(e => e.outerHTML.slice(0, 80))""")
        assert not inside
        for name in ('table', 'math'):
            assert page.evaluate(f"(() => {{ const e = document.getElementById('{name}'), s = [e, ...e.children].find(x => x.scrollWidth > x.clientWidth+1 && getComputedStyle(x).overflowX == 'auto'); return !!s; }})()"), f'{name} scrolls alone'
        rows = page.evaluate("(() => { const e = document.querySelector('#code span'); return e.getClientRects().length; })()")
        assert rows == 1 if width == 1440 else rows > 1, '88 characters are one row where there is room, and wrap where there is none'


def brightness(colour):
    rgb = np.array([float(v) for v in colour[colour.index('(')+1:-1].split(',')[:3]])/255
    return np.where(rgb <= .04045, rgb/12.92, ((rgb+.055)/1.055)**2.4) @ [.2126,.7152,.0722]


@pytest.mark.parametrize('theme', ['quarto-light', 'quarto-dark'])
def test_links_and_code_of_a_page_are_legible(chromium, theme):
    with site(chromium, 1440, theme) as page:
        for what in ('#prose > a', '#prose > code', '#prose a > code'):
            ink,ground = page.locator(what).first.evaluate("""e => { let g = e; while (getComputedStyle(g).backgroundColor == 'rgba(0, 0, 0, 0)') g = g.parentElement;
                return [getComputedStyle(e).color, getComputedStyle(g).backgroundColor]; }""")
            a,b = sorted([brightness(ink), brightness(ground)])
            assert (b+.05)/(a+.05) >= 4.5, f'{what}: {ink} on {ground}'


def test_open_in_colab_is_the_same_notebook(chromium):
    with site(chromium, 1440) as page:
        link = page.get_by_role('link', name='Open in Colab')
        assert link.get_attribute('href') == 'https://colab.research.google.com/github/someone/gla/blob/main/nbs/paper/speed.ipynb'
        assert 'public' in link.get_attribute('title')
