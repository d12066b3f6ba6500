"""The drawing widget in a real browser: JupyterLab, Debian's Chromium, a real pointer. Only what needs a browser.

Everything runs on this machine, without a network. What is missing is said in the summary, and the tests are skipped."""
import json, os, shutil, socket, subprocess, sys, time, warnings
from base64 import b64decode
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import numpy as np, pytest
from PIL import Image

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
MISSING = [name for name in ('jupyterlab', 'playwright') if find_spec(name) is None]
HOW = ([f"pip install {' '.join(MISSING)}"] if MISSING else []) + ([] if CHROMIUM else ["apt-get install chromium"])
if HOW: warnings.warn(f"THE BROWSER TESTS ARE SKIPPED, the drawing widget is not tested in a browser. To run them: {'; '.join(HOW)}")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(HOW), reason='; '.join(HOW))]

FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic', '--no-first-run']
SIZE = (1600,1000)  # width and height of the photo, larger than the place for it on the screen
CELL = """
import json, os, numpy as np, torch
from gla_inpaint.draw import HoleDrawer
from gla_inpaint.generator import Inpainter
torch.set_num_threads(1); torch.manual_seed(0)
net = Inpainter(4).eval()
net.size = 32
drawer = HoleDrawer('photo.png', model=net)
from threading import RLock
turn = RLock()  # messages from the browser come in another thread
def report(_=None):
    "Write what Python knows, each time that it changes; the name appears when the file is complete"
    with turn: write()
def write():
    state = dict(past=len(drawer.history.past), brush=drawer.brush.value, reveal=drawer.compare.value, tool=drawer.canvas.tools[drawer.canvas.tool],
                 state=drawer.canvas.state, status=drawer.canvas.status)
    arrays = dict(hole=drawer.hole) | ({} if drawer.filled is None else dict(filled=np.asarray(drawer.filled)))
    np.savez('part.npz', state=json.dumps(state), **arrays)
    os.replace('part.npz', 'seen.npz')
drawer.canvas.observe(report, ['drawn', 'filled', 'tool', 'state', 'status'])
for slider in (drawer.brush, drawer.compare): slider.observe(report, 'value')
report()
drawer
"""


def wait_for(check, what, seconds=20):
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
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        yield browser
        browser.close()


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

    def button(self, name): return self.page.locator('.jp-OutputArea').get_by_role('button', name=name)

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
    d.canvas.evaluate("""c => { const el = c.parentElement; window.states = [];
        new MutationObserver(() => states.push([el.dataset.state, el.innerText])).observe(el, {attributes: true, childList: true, subtree: true}); }""")
    d.button('Fill').click()
    _,same,filled = d.until(lambda s, h, filled: filled is not None and s['state'] == 'ready' and s['reveal'] == 1, 'filled')
    changed = (filled != photo()).any(-1)
    assert np.array_equal(same, hole) and changed[hole].mean() > .9 and not changed[~hole].any()
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
    for name in ('Brush', 'Eraser', 'Rectangle', 'Undo', 'Redo', 'Clear', 'Load hole', 'Fill', 'Save'): assert drawing.button(name).count() == 1, name
    assert 'of the photo' in drawing.page.get_by_role('status').filter(has_text='hole').inner_text()


FOCUSABLE = 'canvas, button, input:not([type=file]), [tabindex="0"]'

def test_letters_do_not_reach_the_notebook(drawing):
    "a, b, x, d d and m would insert, cut, delete and change cells"
    nothing_drawn(drawing)
    drawing.stroke((.2,.2), (.4,.2))
    hole,board = drawing.seen()[1],drawing.page.locator('.jp-OutputArea-output', has=drawing.canvas)
    places = board.locator(FOCUSABLE).all()
    assert len(places) > 8
    for place in places:
        if not place.is_visible() or place.is_disabled(): continue
        place.focus()
        for key in 'abxddmzvyr': drawing.page.keyboard.press(key)
        assert drawing.page.locator('.jp-Cell').count() == 1, place.evaluate('e => e.outerHTML')
        assert drawing.page.locator('.jp-CodeCell').count() == 1 and drawing.canvas.is_visible()
    assert np.array_equal(drawing.seen()[1], hole)


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
    handle.press('Home')
    drawing.until(lambda s, *_: s['reveal'] == 0, 'the slider stands at before')
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
    assert drawing.button('Load hole').inner_text().strip() == 'Load hole', 'ipywidgets counts files there'
    assert 'Traceback' not in drawing.page.locator('.jp-Notebook').inner_text()
    drawing.button('Undo').click()
    drawing.until(lambda s, h, _: h.any(), 'the hole is back')


def test_notebook_7(notebook7, chromium):
    with opened(notebook7, chromium, 1) as d:
        strokes_land_where_they_were_drawn(d)
        filling_changes_the_hole_alone(d)
