"""The drawing board in Chromium without Jupyter: a page, a model that stands in for ipywidgets' own, and a real `HoleDrawer` in this process.

What needs JupyterLab is tested there (test_browser.py). The pictures and the animation of nbs/images are made from this too (make_pictures.py)."""
import json, shutil, time
from base64 import b64decode, b64encode
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from gla_inpaint.draw import HoleDrawer

STATIC = Path(__file__).parent.parent/'gla_inpaint/static'
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic', '--no-first-run']
ADDRESS = 'http://127.0.0.1:9/board'  # nothing listens there: the page is handed to the browser by playwright
PAGE = """<!doctype html><meta charset="utf-8"><title>board</title>
<style>body { margin: 12px; color: %(ink)s; background: %(paper)s; color-scheme: %(scheme)s; } %(css)s</style>
<div id="here"></div>
<script type="module">
const state = {}, listeners = {}, changed = new Set();
const bytes = text => new DataView(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
const text = buffer => btoa(Array.from(new Uint8Array(buffer), b => String.fromCharCode(b)).join(""));
const revive = v => v?.base64 !== undefined ? bytes(v.base64) : Array.isArray(v) ? v.map(revive)
  : v && typeof v == "object" ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, revive(x)])) : v;
const fire = (name, ...given) => [...listeners[name] ?? []].forEach(f => f(...given));
window.model = {
  get: name => state[name],
  set(name, value) { state[name] = value; changed.add(name); fire(`change:${name}`); },
  save_changes() { pySet(Object.fromEntries([...changed].map(name => [name, state[name]]))); changed.clear(); },
  send(message, callbacks, buffers = []) { if (!window.gone) pySend(message, buffers.map(text)); },
  on(name, f) { (listeners[name] ??= new Set()).add(f); },
  off(name, f) { listeners[name]?.delete(f); },
};
const take = ({changes, messages}) => {
  for (const [name, value] of changes) state[name] = revive(value);
  for (const [name] of changes) fire(`change:${name}`);
  for (const [message, buffers] of messages) fire("msg:custom", message, buffers.map(b => bytes(b.base64)));
};
const poll = async () => { take(await pyPoll()); setTimeout(poll, 15); };
window.comm = () => fire("comm_live_update");
take(await pyPoll());
const {default: {render}} = await import(URL.createObjectURL(new Blob([%(js)s], {type: "text/javascript"})));
window.destroy = render({model, el: document.getElementById("here")});
poll();
</script>"""


def plain(v):
    "For JSON: bytes as {base64: ...}"
    if isinstance(v, (bytes, memoryview)): return dict(base64=b64encode(v).decode())
    if isinstance(v, dict): return {k: plain(x) for k,x in v.items()}
    return [plain(x) for x in v] if isinstance(v, (list, tuple)) else v


class Board:
    "A `HoleDrawer` on a page"
    def __init__(self, page, drawer, dark=False, patience=5000):
        self.page,self.drawer,self.changes,self.messages = page,drawer,[],[]
        canvas = drawer.canvas
        names = [n for n in canvas.traits(sync=True) if n[0] != '_' and n not in ('layout', 'tabbable', 'tooltip')]
        self.changes = [(n, getattr(canvas, n)) for n in names]
        canvas.observe(lambda c: self.changes.append((c['name'], c['new'])), names)
        canvas.send = lambda content, buffers=(): self.messages.append((content, list(buffers)))
        for name,f in dict(pySend=self._send, pySet=self._set, pyPoll=self._poll).items(): page.expose_function(name, f)
        ink,paper,scheme = ('#e4e4e4', '#181818', 'dark') if dark else ('#1c1c1c', 'white', 'light')
        js = (STATIC/'draw.js').read_text()
        assert 'PATIENCE = 5000' in js
        html = PAGE % dict(ink=ink, paper=paper, scheme=scheme, css=(STATIC/'draw.css').read_text(), js=json.dumps(js.replace('PATIENCE = 5000', f'PATIENCE = {patience}')))
        page.route(ADDRESS, lambda route: route.fulfill(body=html, content_type='text/html'))
        page.goto(ADDRESS)
        self.canvas = page.locator('.gla-draw canvas')
        self.canvas.wait_for()
        self.until(lambda: self.canvas.evaluate('c => c.width != 300 && c.height != 150'), 'the photo is painted')

    def _send(self, message, buffers):
        self.drawer.canvas._handle_msg(dict(content=dict(data=dict(method='custom', content=message)), buffers=[memoryview(b64decode(b)) for b in buffers]))
    def _set(self, changes):
        for name,value in changes.items(): setattr(self.drawer.canvas, name, value)
    def _poll(self):
        (changes,self.changes),(messages,self.messages) = (self.changes,[]),(self.messages,[])
        return dict(changes=plain(changes), messages=plain(messages))

    def until(self, check, what, seconds=60):
        end = time.monotonic()+seconds
        while time.monotonic() < end:
            if (got := check()): return got
            self.page.wait_for_timeout(20)
        raise AssertionError(f'{seconds} seconds, and still not: {what}')

    def button(self, name): return self.page.get_by_role('button', name=name, exact=True)

    def say(self): return self.page.get_by_role('status').inner_text()

    def at(self, x, y):
        "A share of the canvas as a place on the page"
        box = self.canvas.bounding_box()
        return box['x']+x*box['width'],box['y']+y*box['height']

    def drag(self, *points, steps=8, button='left'):
        mouse,(first,*rest) = self.page.mouse,[self.at(*p) for p in points]
        mouse.move(*first); mouse.down(button=button)
        for p in rest: mouse.move(*p, steps=steps)
        mouse.up(button=button)

    def stroke(self, *points, **kwargs):
        past = len(self.drawer.history.past)
        self.drag(*points, **kwargs)
        self.until(lambda: len(self.drawer.history.past) == past+1, 'the stroke has come')

    def press(self, *keys):
        for key in keys: self.page.keyboard.press(key)

    def pixels(self):
        "[H,W,3]: the canvas as the browser holds it, when all that was asked is painted"
        self.page.wait_for_timeout(300)
        png = self.canvas.evaluate("c => c.toDataURL('image/png')")
        return np.asarray(Image.open(BytesIO(b64decode(png.split(',')[1]))).convert('RGB')).astype(int)


@contextmanager
def browser():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        try: yield chromium
        finally: chromium.close()


@contextmanager
def board(chromium, photo, hole=None, model=None, dark=False, patience=5000, width=1000, height=900, ratio=1, **kwargs):
    context = chromium.new_context(viewport=dict(width=width, height=height), device_scale_factor=ratio, **kwargs)
    context.set_default_timeout(120_000)
    try: yield Board(context.new_page(), HoleDrawer(photo, hole, model), dark, patience)
    finally: context.close()
