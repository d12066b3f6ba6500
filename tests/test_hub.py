"Sharing weights: our calls fit the real client of the Hugging Face Hub, which is asked nothing over a network here."
import sys
from inspect import signature
from pathlib import Path
import pytest, torch
from gla_inpaint.generator import Inpainter
from gla_inpaint.hub import WEIGHTS_FILE, from_pretrained, push_to_hub, save_pretrained
from gla_inpaint.weights import InpaintError

huggingface_hub = pytest.importorskip('huggingface_hub')


@pytest.fixture
def calls(monkeypatch, tmp_path):
    "What the client is asked for, if its own signatures allow it"
    seen = []
    def stand_in(real, answer):
        def call(*args, **kwargs):
            signature(real).bind(*args, **kwargs)
            seen.append((real.__name__, kwargs))
            return answer(**kwargs)
        return call
    api = huggingface_hub.HfApi
    monkeypatch.setattr(api, 'create_repo', stand_in(api.create_repo, lambda **kw: None))
    monkeypatch.setattr(api, 'upload_folder', stand_in(api.upload_folder, lambda folder_path, **kw: ' '.join(sorted(p.name for p in Path(folder_path).iterdir()))))
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', stand_in(huggingface_hub.hf_hub_download, lambda filename, **kw: str(tmp_path/filename)))
    return seen


def test_push_makes_a_place_and_uploads_weights_and_page(calls):
    assert push_to_hub(Inpainter(2), 'ada/tiny', private=True) == f'README.md {WEIGHTS_FILE}'
    assert [c[0] for c in calls] == ['create_repo', 'upload_folder'] and calls[0][1]['private'] and calls[0][1]['exist_ok'] and all(c[1]['repo_id'] == 'ada/tiny' for c in calls)


def test_from_pretrained_asks_for_one_file(calls, tmp_path):
    save_pretrained(Inpainter(2, mpga=False), tmp_path)
    net = from_pretrained('ada/tiny', 'cpu', revision='v2')
    assert calls == [('hf_hub_download', dict(repo_id='ada/tiny', filename=WEIGHTS_FILE, revision='v2', token=None))]
    assert (net.width, net.mpga, net.gla, net.training) == (2, False, True, False)


def test_a_text_with_its_own_first_lines_is_the_page(tmp_path):
    save_pretrained(Inpainter(2), tmp_path/'a', '---\nlicense: cc0-1.0\n---\nMine.')
    assert (tmp_path/'a/README.md').read_text() == '---\nlicense: cc0-1.0\n---\nMine.'
    save_pretrained(tmp_path/'a'/WEIGHTS_FILE, tmp_path/'b')
    assert 'license: other' in (tmp_path/'b/README.md').read_text() and 'no description yet' in (tmp_path/'b/README.md').read_text()


def test_full_precision_on_request(tmp_path):
    net = Inpainter(2)
    save_pretrained(net, tmp_path, half=False)
    assert all(torch.equal(a, b) for a,b in zip(net.state_dict().values(), from_pretrained(tmp_path, 'cpu').state_dict().values()))


def test_a_file_of_weights_is_asked_of_nobody(calls, tmp_path, monkeypatch):
    "Not even where its name has the form of one on the Hub"
    monkeypatch.chdir(tmp_path)
    save_pretrained(Inpainter(2), 'run')
    assert from_pretrained(f'run/{WEIGHTS_FILE}', 'cpu').width == 2 and not calls


def test_a_file_in_the_way(tmp_path):
    (tmp_path/'file').write_text('in the way')
    with pytest.raises(OSError, match='file is a file'): save_pretrained(Inpainter(2), tmp_path/'file')
    assert (tmp_path/'file').read_text() == 'in the way'


def test_where_there_are_no_weights(tmp_path, calls):
    "An empty folder, a name that is none, a folder that does not exist; nobody is asked"
    (tmp_path/'empty').mkdir()
    for name,words in ((tmp_path/'empty', f'holds no {WEIGHTS_FILE}: write it with save_pretrained'), ('tiny', 'a name on the Hub is user/name'), (tmp_path/'nowhere', 'there is no folder')):
        with pytest.raises(InpaintError, match=words) as e: from_pretrained(name)
        assert '\n' not in str(e.value)
    assert not calls


def test_a_folder_needs_no_client(tmp_path, monkeypatch):
    save_pretrained(Inpainter(2), tmp_path)
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    assert from_pretrained(tmp_path, 'cpu').width == 2
    assert from_pretrained(tmp_path/WEIGHTS_FILE, 'cpu').width == 2
    with pytest.raises(ImportError, match=r'gla_inpaint\[hub\]'): from_pretrained('ada/tiny')
    with pytest.raises(ImportError, match=r'gla_inpaint\[hub\]'): push_to_hub(Inpainter(2), 'ada/tiny')


def test_a_readme_of_something_else_is_kept(tmp_path):
    (tmp_path/'README.md').write_text('mine')
    with pytest.raises(InpaintError, match='give a folder of their own to the weights'): save_pretrained(Inpainter(2), tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ['README.md'] and (tmp_path/'README.md').read_text() == 'mine'
    save_pretrained(Inpainter(2), tmp_path/'own'); save_pretrained(Inpainter(2), tmp_path/'own', 'again')
    assert 'again' in (tmp_path/'own/README.md').read_text()
