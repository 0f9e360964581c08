"""Classes from outside the package, named as module:Class or by entry points: what is found, refused and remembered."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from cellfree_sim.channel import cache
from cellfree_sim.channel.station import channel_request
from cellfree_sim.detection import create_detector, list_detectors
from cellfree_sim.detection.learned.trained import read_trained, save_trained
from cellfree_sim.detection.learned.trainer import train_detector
from cellfree_sim.errors import DetectorError, ScenarioError
from cellfree_sim.network import build_network
from cellfree_sim.registry import Registry
from cellfree_sim.scenario import (
    Scenario,
    dump_scenario,
    expand,
    load_scenario,
    read_scenario,
    received_scenario,
    scenario_schema,
)
from cellfree_sim.scenario.extensions import DETECTORS
from cellfree_sim.scenario.outside import Importer, import_classes, loaded_classes
from cellfree_sim.scenario.training import MimoTraining
from cellfree_sim.sources import content_digest
from cellfree_sim.studies.points import digest
from cellfree_sim.uplink import MimoProblem

CHANNEL = '''
"""A channel of ones."""
import numpy as np
from pydantic import Field
from cellfree_sim.channel.base import ChannelModel
{imports}

class Ones(ChannelModel):
    """All coefficients are the gain."""
    gain: float = Field(1.0, gt=0, le=10)

    def generate(self, request, progress=None):
        return np.full(request.shape, self.gain, dtype=np.complex64)

class Unfinished(ChannelModel):
    """It makes no channels."""

class Helper:
    """No extension."""
'''
_made = 0


@pytest.fixture
def module(tmp_path: Path) -> str:
    """A module with a channel model in a folder, under a name that no other test uses."""
    global _made
    _made += 1
    name = f"channels_of_test_{_made}"
    (tmp_path / f"{name}.py").write_text(CHANNEL.format(imports=""))
    return name


def scenario_file(folder: Path, model: str, name: str = "s.yaml") -> Path:
    path = folder / name
    path.write_text(f"name: own\nchannel:\n  model: {model}\n")
    return path


def test_a_class_beside_the_scenario_is_found_and_remembered(tmp_path: Path, module: str) -> None:
    told: list[str] = []
    path = scenario_file(tmp_path, f"{{name: '{module}:Ones', gain: 2}}")
    scenario = load_scenario(path, announce=told.append)
    assert scenario.channel.model.gain == 2 and scenario.channel.model.label == "Ones"
    file = tmp_path / f"{module}.py"
    assert told == [f"imports {file}, which is named as module {module}"]
    assert [(each.module, each.file) for each in scenario.extensions] == [(module, str(file))]
    written = tmp_path / "elsewhere" / "scenario.yaml"
    written.parent.mkdir()
    written.write_text(dump_scenario(scenario))
    assert load_scenario(written) == scenario == received_scenario(scenario.model_dump_json())
    assert jsonschema.Draft202012Validator(scenario_schema()).is_valid(json.loads(scenario.model_dump_json()))
    network = build_network(scenario)
    made = scenario.channel.model.generate(channel_request(scenario, network, "sbs-0", "test"))
    assert (made == 2).all()


def test_other_processes_import_what_they_are_told(tmp_path: Path, module: str) -> None:
    scenario = load_scenario(scenario_file(tmp_path, f"{module}:Ones"))
    told = [each for each in loaded_classes() if each["module"] == module]
    code = (
        "import json, sys\n"
        "from cellfree_sim.scenario import received_scenario\n"
        "from cellfree_sim.scenario.extensions import CHANNEL_MODELS\n"
        "from cellfree_sim.scenario.outside import import_classes\n"
        "scenario, classes = json.load(sys.stdin)\n"
        "import_classes(classes)\n"
        "print(CHANNEL_MODELS.create(classes[0]['name']) == received_scenario(scenario).channel.model)\n"
    )
    sent = json.dumps([scenario.model_dump_json(), told])
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_what_was_recorded_must_be_there_and_unchanged(tmp_path: Path, module: str) -> None:
    scenario = load_scenario(scenario_file(tmp_path, f"{module}:Ones"))
    told = [each for each in loaded_classes() if each["module"] == module]
    file = tmp_path / f"{module}.py"
    text = file.read_text()
    file.write_text(text + "# changed\n")
    for receive in (lambda: received_scenario(scenario.model_dump_json()), lambda: import_classes(told)):
        with pytest.raises(ScenarioError, match=f"{module}.py .* is not what it was when the run began; put it back"):
            receive()
    file.unlink()
    with pytest.raises(ScenarioError, match=f"module '{module}' is gone: there is no file .*{module}.py") as error:
        received_scenario(scenario.model_dump_json())
    assert "\n" not in str(error.value)


def test_a_module_elsewhere_is_named_with_its_file(tmp_path: Path, module: str) -> None:
    folder = tmp_path / "scenarios"
    folder.mkdir()
    path = scenario_file(folder, f"{module}:Ones")
    path.write_text(path.read_text() + f"extensions: [{{module: {module}, file: ../{module}.py}}]\n")
    scenario = load_scenario(path)
    assert [each.file for each in scenario.extensions] == [str(tmp_path / f"{module}.py")]
    assert scenario.extensions[0].sha256 is not None
    path.write_text(path.read_text().replace(f"../{module}.py", "../nowhere.py"))
    with pytest.raises(ScenarioError, match=f"module '{module}' is gone: there is no file .*nowhere.py"):
        load_scenario(path)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("{module}s:Ones", r"there is no module '{module}s' in .* and on Python's path; did you mean '{module}'\?"),
        ("{module}:One", r"{module}.py has no class 'One'; there are Ones, Unfinished; did you mean 'Ones'\?"),
        ("{module}:Helper", "{module}:Helper is no extension; allowed: a channel model, a class derived from cellfree"),
        ("{module}:Unfinished", "{module}:Unfinished does not define generate"),
        ("json:JSONDecoder", "found the module 'json', which is Python's or this project's own; allowed: yours"),
        ("cellfree_sim.channel.models.rayleigh:Rayleigh", "'cellfree_sim.channel.models.rayleigh', which is Python's"),
        ("{{name: '{module}:Ones', gian: 2}}", r"channel.model.gian: unknown key; .*gain.*; did you mean 'gain'\?"),
        ("{{name: '{module}:Ones', gain: 11}}", "channel.model.gain: found 11; allowed: a number above 0, at most 10"),
        (
            "{module}:Ones:x",
            r"found '{module}:Ones:x' .neither a name nor module:Class.; allowed: rayleigh, tr38901-inh",
        ),
    ],
)
def test_what_is_wrong_is_said_at_its_place(tmp_path: Path, module: str, model: str, text: str) -> None:
    path = scenario_file(tmp_path, model.format(module=module))
    with pytest.raises(ScenarioError, match=text.format(module=module)) as error:
        load_scenario(path)
    assert str(error.value).startswith(f"{path}:3:") and "\n" not in str(error.value)
    assert ": channel.model" in str(error.value)


def test_a_detector_is_no_channel(tmp_path: Path, module: str) -> None:
    file = tmp_path / f"{module}.py"
    text = file.read_text().replace("class Helper:", "class Helper(Policy):")
    file.write_text(text.replace("import numpy", "from cellfree_sim.downlink.policy import Policy\nimport numpy"))
    with pytest.raises(ScenarioError, match=f"{module}:Helper is a policy network; allowed: a channel model"):
        load_scenario(scenario_file(tmp_path, f"{module}:Helper"))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("import nothing_of_this_name", ":6: module '.*' cannot be imported: ModuleNotFoundError: No module named"),
        ("def (", r":6: module '.*' cannot be imported: SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", ":6: module '.*' cannot be imported: SystemExit: 3"),
    ],
)
def test_an_error_in_the_module_is_one_line_that_names_its_own(
    tmp_path: Path, module: str, line: str, text: str
) -> None:
    (tmp_path / f"{module}.py").write_text(CHANNEL.format(imports=line))
    with pytest.raises(ScenarioError, match=f"{module}.py{text}.*check-extension {module} --traceback, there") as error:
        load_scenario(scenario_file(tmp_path, f"{module}:Ones"))
    assert "\n" not in str(error.value)


def test_a_module_that_is_there_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{module}.py").write_text("")
    monkeypatch.syspath_prepend(str(other))
    path = scenario_file(tmp_path, f"{module}:Ones")
    with pytest.raises(ScenarioError, match=f"found the module '{module}' twice, as .* and as .*other.*; rename one"):
        load_scenario(path)
    (other / f"{module}.py").unlink()
    load_scenario(path)
    (other / f"{module}.py").write_text((tmp_path / f"{module}.py").read_text())
    (tmp_path / f"{module}.py").unlink()
    with pytest.raises(ScenarioError, match=f"but this process has imported {module} from"):
        load_scenario(path)


def test_reading_imports_nothing(tmp_path: Path, module: str) -> None:
    """Neither does validation by itself."""
    model = {"channel": {"model": f"{module}:Ones"}}
    with pytest.raises(ValueError, match=f"names the code '{module}:Ones', which no scenario"):
        Scenario.model_validate(model)
    with pytest.raises(ScenarioError, match=f"found '{module}:Ones', which is code; allow it with: --allow {module}"):
        path = scenario_file(tmp_path, f"{module}:Ones")
        source = read_scenario(path)
        type(source)(source.path, source.folder, source.root, allowed=()).validated()
    assert module not in sys.modules


def test_a_trained_file_that_names_code_is_refused(tmp_path: Path, module: str) -> None:
    """Until a scenario has named the same class."""
    trained = train_detector(MimoTraining(detector="mmnet", n_rx=4, n_tx=[2], iterations=2, batch=4), seed=1)
    path = tmp_path / "x.detector"
    save_trained(trained, path)
    body = path.read_bytes()
    name = f"{module}:N"  # of the same length, so that only the digest has to be made anew
    trained.training.detector.__dict__["name"] = name
    object.__setattr__(trained, "detector", name)
    with pytest.warns(UserWarning, match="serial"):
        save_trained(trained, path)
    assert path.read_bytes() != body
    with pytest.raises(DetectorError, match=f"found 'x.detector', which names the code '{name}'.*nothing is imported"):
        read_trained(path)
    assert module not in sys.modules


def test_results_follow_the_content_of_the_file_and_of_what_it_imports(tmp_path: Path) -> None:
    """Not its place."""
    found = []
    for index, helper in enumerate(("A = 1\n", "A = 1\n", "A = 2\n")):
        folder = tmp_path / str(index)
        folder.mkdir()
        (folder / "helper_of_digests.py").write_text(helper)
        (folder / "digests_of_test.py").write_text("def late():\n    from helper_of_digests import A\n")
        found.append(content_digest("digests_of_test", folder / "digests_of_test.py"))
    assert found[0] == found[1] != found[2]


def test_a_changed_file_is_another_point_and_another_channel(tmp_path: Path) -> None:
    """In processes of their own, as a process keeps what it has imported."""
    code = (
        "import sys\n"
        "from cellfree_sim.channel import cache\n"
        "from cellfree_sim.channel.station import channel_request\n"
        "from cellfree_sim.network import build_network\n"
        "from cellfree_sim.scenario import load_scenario\n"
        "from cellfree_sim.studies.points import digest\n"
        "scenario = load_scenario(sys.argv[1])\n"
        "request = channel_request(scenario, build_network(scenario), 'sbs-0', 'test')\n"
        "print(digest(scenario), cache.key_of(scenario.channel.model, request))\n"
    )
    found = []
    for text in (CHANNEL, CHANNEL + "# other\n"):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        (folder / "channels_of_points.py").write_text(text.format(imports=""))
        path = scenario_file(folder, "channels_of_points:Ones")
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
        found.append(done.stdout.split())
    assert found[0][0] != found[1][0] and found[0][1] != found[1][1]


def test_points_of_a_sweep_name_it_too(tmp_path: Path, module: str) -> None:
    path = scenario_file(tmp_path, "rayleigh")
    path.write_text(path.read_text() + f"sweep: {{grid: {{channel.model: [rayleigh, '{module}:Ones']}}}}\n")
    points = expand(read_scenario(path))
    assert [len(point.scenario.extensions) for point in points] == [0, 1]
    assert digest(points[0].scenario) != digest(points[1].scenario)
    scenario = points[1].scenario
    request = channel_request(scenario, build_network(scenario), "sbs-0", "test")
    plain = points[0].scenario.channel.model
    assert cache.key_of(scenario.channel.model, request) != cache.key_of(plain, request)


def test_programs_use_classes_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "detectors_of_test.py").write_text(
        "from cellfree_sim.detection.mimo.linear import Lmmse\nfrom cellfree_sim.detection.detector import"
        " DetectorOptions\nclass Mine(DetectorOptions):\n    family = 'mimo'\n    def build(self, problem):\n"
        "        return Lmmse().build(problem)\n".replace("    family =", "    family: 'ClassVar' =").replace(
            "from cellfree_sim.detection.mimo", "from typing import ClassVar\nfrom cellfree_sim.detection.mimo", 1
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    problem = MimoProblem(4, 2)
    slots = problem.sample(20, 10.0)
    found = create_detector("detectors_of_test:Mine", problem)(slots.y, slots.h, slots.noise_variance)
    plain = create_detector("lmmse", problem)(slots.y, slots.h, slots.noise_variance)
    assert (found.logits == plain.logits).all()
    import detectors_of_test

    link = {"detectors": [detectors_of_test.Mine(), "lmmse"]}
    scenario = Scenario.model_validate({"link": link})
    assert list(scenario.link.labelled()) == ["Mine", "lmmse"]
    assert scenario.model_dump()["link"]["detectors"][0] == {"name": "detectors_of_test:Mine"}
    with pytest.raises(DetectorError, match="there is no module 'no_such_module' on Python's path"):
        create_detector("no_such_module:Mine", problem)
    with pytest.raises(ValueError, match="detectors_of_test:Mine is a MIMO detector; allowed: a NOMA receiver"):
        from cellfree_sim.scenario.extensions import NOMA_DETECTORS

        Importer().resolve(NOMA_DETECTORS, "detectors_of_test:Mine")


def distribution(folder: Path, entries: str) -> None:
    """An installed distribution, as pip leaves it."""
    about = folder / "own_extensions-1.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-extensions\nVersion: 1.5\n")
    (about / "entry_points.txt").write_text(f"[cellfree_sim.mimo_detectors]\n{entries}")


def test_entry_points_have_names_like_all_others_and_broken_ones_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "entries_of_test.py").write_text(
        "from cellfree_sim.detection.mimo.linear import Lmmse\nclass Mine(Lmmse):\n    '''Another name.'''\n"
    )
    distribution(tmp_path, "mine = entries_of_test:Mine\ngone = no_such_module:X\nep = entries_of_test:Mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[object] = Registry(DETECTORS.noun, "cellfree_sim.detection.mimo", DETECTORS.group,
                                          DETECTORS.base_reference, "mimo")  # fmt: skip
    registry._types = dict(DETECTORS._types) if DETECTORS.names() else {}
    with caplog.at_level(logging.WARNING):
        assert registry.names()[-1] == "mine"
    option = registry.create("mine")
    assert option.name == "mine" and type(option).source.distribution == "own-extensions 1.5"
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("MIMO detector 'gone' of distribution own-extensions 1.5 cannot be used: ModuleNotFound")
    assert said[1].endswith(
        "'ep' of distribution own-extensions 1.5 cannot be used: ValueError: there is one of this name"
    )
    assert len(said) == 2 and "mine" not in list_detectors()
    assert importlib.metadata.version("own-extensions") == "1.5"
