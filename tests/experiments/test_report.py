"""The report in a real browser: everything drawn, nothing fetched, no error in the console, fit for a phone."""

import json
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer
import xarray as xr

from browsing import opened, wait
from nonsingular import cli
from nonsingular.experiments.about import About, asked
from nonsingular.experiments.claims import Claim, exactly, is_ours
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.overrides import Overrides, make_spec
from nonsingular.experiments.report import differences
from nonsingular.experiments.report.finished import find, read, read_claims
from nonsingular.experiments.report.pages import count, pages, write_report
from nonsingular.experiments.report.strips import WIDTH, strip
from nonsingular.experiments.reproducing import publish
from nonsingular.experiments.spec import Spec
from nonsingular.papers.registry import experiment, experiments
from nonsingular.plots.style import new_figure

pytestmark = pytest.mark.drawn

RESULTS = Path(__file__).parents[2] / "results"
ATTACK = "<script>window.hacked = true</script>\"'><img src=x onerror='window.hacked = true'>"


def drawn(page):
    """Whether every picture has been unpacked and decoded and every interval has a size."""
    wait(page, "[...document.images].every(i => i.complete && i.naturalWidth)")
    return page.evaluate(
        """() => [...document.images].every(i => i.complete && i.naturalWidth > 0)
                && [...document.querySelectorAll('svg.strip')].every(s => s.getBoundingClientRect().width > 50)"""
    )


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@pytest.fixture(scope="module")
def figure_s5(tmp_path_factory):
    from nonsingular.experiments.run.workspace import Workspace

    folder = tmp_path_factory.mktemp("figS5")
    found = experiment("orhan2018/figS5")
    spec = found.spec("smoke")
    (folder / "spec.json").write_text(spec.to_json())
    return publish(found, found.run(spec, Workspace(folder)), folder)


def test_every_figure_of_one_experiment_is_drawn_offline(browser, figure_s5):
    page, errors, requests = opened(browser, figure_s5.report)
    assert page.locator("figure img").count() == len(list((figure_s5.folder / "figures").glob("*.svg"))) > 0
    assert drawn(page)
    assert page.evaluate("window.Plotly") is None  # it is not run before its figures are looked at
    found = experiment("orhan2018/figS5")
    hosts = page.locator("[data-figure]").all()
    assert len(hosts) == len(found.interactive(figure_s5.results)) > 0
    for host in hosts:
        host.scroll_into_view_if_needed()
        host.locator(".main-svg").first.wait_for()
    page.emulate_media(color_scheme="dark")
    wait(page, "document.querySelector('.interactive .xtitle').style.fill == 'rgb(232, 232, 232)'")
    assert page.locator(".claims tbody tr").count() == len(found.claims)
    assert "nonsingular reproduce orhan2018/figS5 --scale smoke" in page.locator("pre").first.inner_text()
    assert errors == []
    assert requests == [figure_s5.report.as_uri()]


def test_the_page_of_many_keeps_interactive_figures(figure_s5, tmp_path):
    assert cli.run(["report", str(figure_s5.folder), "--out", str(tmp_path / "all.html")]) == 0
    html = (tmp_path / "all.html").read_text()
    number = len(experiment("orhan2018/figS5").interactive(figure_s5.results))
    assert html.count("data-figure=") == number
    assert html.count('id="plotly"') == 1
    assert len(html) < 3_500_000  # the library alone is 4.8 MB unpacked


# --- the whole paper ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The page of everything that the repository keeps, as a user makes it."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert cli.run(["report", str(RESULTS), "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def opened_whole(browser, whole):
    """That page, opened once for all tests, with what it logged and asked for."""
    page, errors, requests = opened(browser, whole, viewport={"width": 1280, "height": 900})
    yield page, errors, requests
    page.close()


@pytest.fixture
def page(opened_whole):
    """That page, in a wide window."""
    page = opened_whole[0]
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    return page


def test_only_pictures_near_the_reader_are_unpacked_first(browser, whole):
    """The rest waits until the page stands: packed text costs a page next to nothing."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script("window.requestIdleCallback = () => {}")
    page.goto(whole.as_uri())
    number = page.locator("img").count()
    assert page.evaluate("document.querySelectorAll('img[data-picture]').length") > 0.8 * number
    page.locator("img").last.evaluate("i => i.scrollIntoView()")
    wait(page, "[...document.images].at(-1).naturalWidth > 0")
    assert page.evaluate("document.querySelectorAll('img[data-picture]').length") > 0.5 * number
    page.close()


def test_the_page_of_kept_results_opens_offline(opened_whole, whole):
    page, errors, requests = opened_whole
    kept = find([RESULTS])
    assert page.locator("article").count() == len(kept) >= 10
    assert page.locator("article figure img").count() == sum(len(f.figures) for f in kept)
    assert page.locator(".scoreboard svg.strip").count() == sum(
        strip(row) is not None for f in kept for row in f.claims
    )
    assert drawn(page)
    assert errors == []
    assert requests == [whole.as_uri()]


def test_the_scoreboard_counts_what_claims_counts(page, capsys):
    rows = read_claims(RESULTS)
    assert page.locator(".scoreboard tbody tr:not(.group)").count() == len(rows)
    for verdict, number in count(rows).items():
        shown = page.locator(f".counts b.{verdict}").all_inner_texts()
        assert sum(map(int, shown)) == number
        every = sum(row["verdict"] == verdict for row in rows)  # also those judged twice, and questions of ours
        assert page.locator(f".scoreboard .verdict.{verdict}").count() == every
    assert cli.run(["claims", str(RESULTS)]) == 0
    assert "{holds} hold, {fails} fail, {inconclusive} inconclusive".format(**count(rows)) in capsys.readouterr().out


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    assert overflow(page) <= 0


def test_every_link_has_a_target(page, whole):
    targets = page.eval_on_selector_all("a", "links => links.map(a => a.getAttribute('href'))")
    kept = find([RESULTS])
    inside = [target for target in targets if target.startswith("#")]
    assert len(inside) == 2 * len(kept) + len({f.paper for f in kept})  # contents and scoreboard
    assert all(page.locator(target).count() == 1 for target in set(inside))
    files = [(whole.parent / unquote(target)).resolve() for target in targets if not target.startswith("#")]
    assert {f for found in kept for f in (*found.figures.values(), *found.files)} <= set(files)
    assert all(file.is_file() for file in files)


def test_pictures_come_before_claims(page):
    first = "all => all.map(a => [...a.querySelectorAll('figure:not(.live), table')].map(e => e.tagName))"
    order = page.locator("article").evaluate_all(first)
    assert {names[0] for names in order if "FIGURE" in names} == {"FIGURE"}


def test_one_report_has_one_count(page):
    """Buttons name verdicts; the contents count what the head of a chapter counts: claims, no questions of ours."""
    assert not any(c.isdigit() for text in page.locator(".filter button").all_inner_texts() for c in text)
    marks = "all => all.map(m => [...m.children].reduce((sum, b) => sum + Number(b.textContent), 0))"
    rows = "all => all.map(a => a.querySelectorAll('.claims tbody tr:not([data-beside])').length)"
    assert page.locator(".contents .marks").evaluate_all(marks) == page.locator("article").evaluate_all(rows)


VISIBLE = """selectors => selectors.map(
  s => [...document.querySelectorAll(s)].filter(e => e.getClientRects().length).length)"""


def test_claims_are_filtered_by_verdict(page):
    rows, kept = read_claims(RESULTS), find([RESULTS])
    parts = (".scoreboard tbody tr:not(.group)", ".claims tbody tr", "article", ".contents li", "tr.group")
    for verdict in ("fails", "holds"):
        page.locator(f".filter button[value={verdict}]").click()
        number = sum(row["verdict"] == verdict for row in rows)
        having = sum(any(row["verdict"] == verdict for row in f.claims) for f in kept)
        assert page.evaluate(VISIBLE, parts) == [number, number, having, having, having]
        assert page.evaluate(VISIBLE, [f".claims .verdict.{verdict}"]) == [number]
        others = sum(is_ours(row) for row in rows if row["verdict"] == verdict)
        assert f"{number} rows shown, {others} of them not the paper's" in page.locator(".filter output").inner_text()
    page.locator(".filter button").first.click()
    assert page.evaluate(VISIBLE, parts) == [len(rows), len(rows), len(kept), len(kept), len(kept)]


def test_the_contents_stay_in_sight(page):
    page.locator("article").nth(5).evaluate("a => a.scrollIntoView()")
    page.wait_for_selector(".contents a[aria-current]")
    assert page.locator(".contents").bounding_box()["y"] == pytest.approx(0, abs=1)
    page.set_viewport_size({"width": 390, "height": 844})
    wait(page, "!document.querySelector('.contents details').open")
    assert page.locator(".contents").bounding_box()["height"] < 60


def test_figures_are_of_reading_size(page):
    """Letters of 9 points in a drawing are 12 pixels high."""
    page.set_viewport_size({"width": 1440, "height": 900})
    script = "found => found.map(i => [i.getBoundingClientRect().width / i.getAttribute('width'), i.alt])"
    shares = page.eval_on_selector_all("article img:not(.wide)", script)
    assert len(shares) > 30
    assert min(shares)[0] > 0.95


def test_pictures_and_intervals_are_described(page):
    pictures = page.eval_on_selector_all("img", "found => found.map(i => i.alt)")
    intervals = page.eval_on_selector_all("svg.strip", "found => found.map(s => s.getAttribute('aria-label'))")
    assert all(len(words) > 20 for words in pictures + intervals)
    assert page.evaluate("document.documentElement.lang") == "en"


LUMINANCE = """selector => {
  const probe = document.createElement('div'); probe.style.backgroundColor = 'inherit';
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
      .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll(selector)].map(e => {
    const ink = light(getComputedStyle(e).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_page(page, scheme):
    """WCAG 2.2, criterion 1.4.3: at least 4.5 to 1."""
    page.emulate_media(color_scheme=scheme)
    contrasts = page.evaluate(LUMINANCE, "body, a, .quiet, .verdict, caption, dt, figcaption")
    assert min(contrasts) >= 4.5
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


# --- what users write is text ------------------------------------------------------------------------------------


def hostile(folder):
    """A finished experiment all of whose strings are an attack."""
    row = dict.fromkeys(("id", "paper", "source", "statement", "expected", "unit", "scale", "data", "note"), ATTACK)
    row |= {"measured": 1.0, "interval": [0.0, 2.0], "runs": 3, "verdict": "holds"}
    spec = {"experiment": ATTACK, "scale": ATTACK, "runs": 3, "settings": {ATTACK: ATTACK}}
    spec["data"] = {"name": ATTACK, "scaling": ATTACK, "train": None, "test": None}
    spec["networks"] = [{"name": ATTACK}]
    folder.mkdir()
    (folder / "claims.json").write_text(json.dumps([row]))
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "machine.json").write_text(json.dumps({"machine": ATTACK}))
    (folder / "figures").mkdir()
    figure = new_figure()
    figure.subplots().plot([1, 2])
    figure.savefig(folder / "figures" / "\"'><script>window.hacked = true<script>.png")
    return folder


def test_strings_of_finished_experiments_are_escaped(browser, tmp_path):
    report = write_report(tmp_path / "r.html", [read(hostile(tmp_path / "a"))], {})
    page, errors, requests = opened(browser, report)
    assert page.evaluate("window.hacked") is None
    assert ATTACK in page.locator(".claims").inner_text()
    assert ATTACK in page.locator("dl").inner_text()
    assert drawn(page)
    assert errors == []
    assert requests == [report.as_uri()]


def test_strings_of_an_experiment_are_escaped(browser, tmp_path):
    claim = Claim(f"x/y/{ATTACK}", ATTACK, ATTACK, lambda _: exactly(1.0, note=ATTACK), unit=ATTACK)
    figure = new_figure()
    figure.subplots().plot([1, 2])
    found = Experiment(
        "x/y",
        ATTACK,
        lambda scale: Spec("x/y", scale, settings={"note": ATTACK}),
        lambda *_: xr.Dataset(),
        lambda _: {"curve": figure},
        (claim,),
        differs=(ATTACK,),
    )
    spec = found.spec("smoke")
    (tmp_path / "spec.json").write_text(spec.to_json())
    outcome = publish(found, xr.Dataset(), tmp_path)
    page, errors, _ = opened(browser, outcome.report)
    assert page.evaluate("window.hacked") is None
    assert ATTACK in page.locator(".claims").inner_text()
    assert ATTACK in page.locator("h3").inner_text()
    assert errors == []


# --- where pages go, and bad input -------------------------------------------------------------------------------


def kept(folder, id="orhan2018/fig3", verdict="holds", **spec):
    """A finished experiment without figures."""
    row = dict.fromkeys(("source", "statement", "expected", "unit", "scale", "data", "note"), "x")
    row |= {"id": f"{id}/x", "paper": id.split("/")[0], "verdict": verdict, "runs": 2}
    folder.mkdir(parents=True)
    (folder / "claims.json").write_text(json.dumps([row | {"measured": 1.0, "interval": [0.0, 2.0]}]))
    (folder / "spec.json").write_text(json.dumps({"experiment": id, "scale": "laptop", "runs": 2, **spec}))
    return folder


def test_each_paper_gets_its_page(tmp_path, capsys):
    for id in ("orhan2018/fig3", "orhan2018/fig4", "li2018/fig1"):
        kept(tmp_path / id, id)
    assert cli.run(["report", str(tmp_path)]) == 0
    written = {tmp_path / "orhan2018" / "report.html", tmp_path / "li2018" / "report.html"}
    assert {tmp_path.joinpath(line) for line in capsys.readouterr().out.split()} == written
    assert set(tmp_path.rglob("report.html")) == written


def test_papers_that_share_a_folder_get_names(tmp_path):
    found = [read(kept(tmp_path / "a", "orhan2018/fig3")), read(kept(tmp_path / "b", "li2018/fig1"))]
    assert {p.name for p in pages(found)} == {"report-orhan2018.html", "report-li2018.html"}


def test_one_page_of_all_where_it_is_asked_for(tmp_path):
    kept(tmp_path / "a", "orhan2018/fig3")
    kept(tmp_path / "b", "li2018/fig1")
    assert cli.run(["report", str(tmp_path), "--out", str(tmp_path / "all.html")]) == 0
    html = (tmp_path / "all.html").read_text()
    assert "Skip Connections Eliminate Singularities" in html
    assert "Visualizing the Loss Landscape" in html


def test_the_page_is_a_file_in_a_folder_that_is_made(tmp_path, capsys):
    kept(tmp_path / "a")
    assert cli.run(["report", str(tmp_path), "--out", str(tmp_path / "new" / "page.html")]) == 0
    assert (tmp_path / "new" / "page.html").exists()
    assert cli.run(["report", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_folders_named_twice_are_shown_once(tmp_path):
    kept(tmp_path / "a")
    assert len(find([tmp_path, tmp_path / "a", tmp_path / "." / "a"])) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("claims.json", "[", "is not a list of claims"),
        ("claims.json", '[{"id": "x"}]', "is not a list of claims"),
        ("claims.json", '[{"id": "x", "measured": "many"}]', "is not a list of claims"),
        ("spec.json", "{}", "spec.json is damaged"),
        ("spec.json", "[]", "spec.json is damaged"),
        ("spec.json", None, "no spec.json"),
        ("claims.json", None, "no claims.json"),
    ],
)
def test_damaged_results_are_one_line(tmp_path, capsys, name, text, message):
    folder = kept(tmp_path / "a")
    (folder / name).unlink() if text is None else (folder / name).write_text(text)
    assert cli.run(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("report*.html"))


def _taking_folders():
    commands = typer.main.get_group(cli.app).commands
    return sorted(name for name, c in commands.items() if {p.name for p in c.params} & {"folders", "a"})


@pytest.mark.parametrize("command", _taking_folders())
def test_every_command_tells_a_folder_that_is_not_there_from_one_without_results(
    tmp_path, capsys, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for given, message in {"nowhere": "does not exist", "file": "is a file", "empty": "claims.json"}.items():
        assert cli.run([command, given, "other", *(["--out", "o"] if command == "merge" else [])]) == 2
        said = capsys.readouterr().err
        assert f"{given} {message}" in said or (given == "empty" and message in said)
        assert ("does not exist" in said) == (given == "nowhere")
        assert said.count("\n") == 1
    assert not (tmp_path / "o").exists()


# --- what differs, and the command that repeats a run ------------------------------------------------------------

CHANGES = [
    Overrides(),
    Overrides(runs=3, epochs=4, seed=7),
    Overrides(data="mnist", scaling="standardised*0.01", precision="bfloat16"),
    Overrides(networks=("residual", "plain")),
]


@pytest.mark.parametrize("scale", ["smoke", "laptop", "overnight", "paper"])
@pytest.mark.parametrize("changes", CHANGES)
def test_the_command_repeats_the_run(scale, changes):
    """Parsed back by the command line's own rules, it asks for the same spec to the letter."""
    found = experiment("orhan2018/fig3")
    spec = make_spec(found, scale, changes)
    command, changed = differences.command(json.loads(spec.to_json()), asked(found.id, changes), found)
    assert changed == []
    words = command.split()
    assert words[:3] == ["nonsingular", "reproduce", found.id]
    options = {name.removeprefix("--"): value.strip("'") for name, value in zip(words[3::2], words[4::2], strict=True)}
    scale = options.pop("scale")
    numbers = {name: int(options.pop(name)) for name in ("runs", "epochs", "seed") if name in options}
    networks = tuple(options.pop("networks").split(",")) if "networks" in options else ()
    assert make_spec(found, scale, Overrides(**options, **numbers, networks=networks)) == spec


def test_the_runs_that_were_asked_for_are_told_by_the_spec_alone():
    """Those of a part are not those of what it was merged into."""
    assert asked("x", Overrides(runs=3, seed=2, precision="float32")).asked == {"precision": "float32"}


def test_every_experiment_has_a_command():
    for found in experiments():
        for scale in found.scales:
            kept = json.loads(make_spec(found, scale, Overrides()).to_json())
            command, changed = differences.command(kept, About(), found)
            assert command == f"nonsingular reproduce {found.id} --scale {scale}"
            assert changed == []


def test_differences_name_both_values():
    found = experiment("orhan2018/fig3")
    paper = json.loads(make_spec(found, "paper", Overrides()).to_json())
    assert differences.from_paper(found, paper) == []
    changed = make_spec(found, "paper", Overrides(runs=7, epochs=9, networks=("plain", "residual")))
    assert set(differences.from_paper(found, json.loads(changed.to_json()))) == {
        f"independent runs: 7, not {paper['runs']}",
        f"epochs: 9, not {paper['training']['epochs']}",
        "networks: 2, not 4 (with hyper-residual, hyper-orthogonal)",
    }


def test_what_differs_alike_in_all_networks_is_told_once():
    found = experiment("orhan2018/fig3")
    wide = json.loads(make_spec(found, "paper", Overrides()).to_json())
    for member in wide["networks"]:
        member["network"]["width"] = 64
    wide["networks"][0]["network"]["depth"] = 7
    assert set(differences.from_paper(found, wide)) == {
        "width of every network: 64, not 128",
        "depth of plain: 7, not 20",
    }


def test_an_experiment_that_has_changed_since_says_so():
    found = experiment("orhan2018/fig3")
    old = json.loads(make_spec(found, "laptop", Overrides()).to_json())
    old["training"]["learning_rate"] = 0.25
    del old["training"]["momentum"]  # a field that did not exist then is passed over
    _, changed = differences.command(old, About(), found)
    assert changed == [f"learning rate: 0.25, then {make_spec(found, 'laptop', Overrides()).training.learning_rate}"]


def test_what_was_asked_for_and_not_kept_is_told_as_a_change():
    """Of results of earlier versions: runs and seeds are in the spec, the rest is what the command leaves out."""
    found = experiment("orhan2018/fig3")
    old = json.loads(make_spec(found, "laptop", Overrides(runs=3, seed=5, epochs=4)).to_json())
    command, changed = differences.command(old, About(), found)
    assert command == "nonsingular reproduce orhan2018/fig3 --scale laptop --runs 3 --seed 5"
    assert changed == [f"epochs: 4, then {make_spec(found, 'laptop', Overrides()).training.epochs}"]


# --- intervals ---------------------------------------------------------------------------------------------------


def row(measured, interval, expected, region):
    return {"measured": measured, "interval": interval, "expected": expected, "region": region}


def test_rows_of_earlier_versions_have_no_region():
    found = strip({"measured": 1.0, "interval": [0.0, 2.0], "expected": "> 0"})
    assert (found.allowed, found.edges) == (None, ())


def test_positions_keep_the_order_of_values():
    found = strip(row(20.0, [17.0, 22.0], "> 0", [0.0, None]))
    assert 0 < found.edges[0] < found.interval[0] < found.value < found.interval[1] < WIDTH
    assert found.allowed == (found.edges[0], WIDTH)
    assert found.words == "measured 20, interval: 17 to 22; the claim: > 0"


def test_an_interval_across_the_edge_is_drawn_across_it():
    found = strip(row(0.1, [-0.5, 0.7], "< 0", [None, 0.0]))
    assert found.interval[0] < found.edges[0] < found.interval[1]
    assert found.allowed == (0.0, found.edges[0])


def test_what_was_not_measured_is_not_drawn():
    assert strip(row(None, None, "> 0", [0.0, None])) is None
    one = strip(row(0.0, [None, None], "> 0", [0.0, None]))
    assert one.interval is None
    assert one.value == one.edges[0]
    assert "no interval" in one.words
