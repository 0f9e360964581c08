"""`cellfree doctor`: facts from machines that are made up of files, and what follows from facts."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from cellfree_sim.cli import main
from cellfree_sim.doctor import Finding, Machine, judge, look
from cellfree_sim.doctor.findings import GIB, MIB
from cellfree_sim.doctor.limits import cpu_quota, memory_limit
from cellfree_sim.doctor.machine import Place, Torch, place
from cellfree_sim.doctor.packages import Package, packages


def written(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def found(machine: Machine, what: str) -> Finding:
    return next(finding for finding in judge(machine) if finding.what == what)


@pytest.fixture(scope="module")
def good() -> Machine:
    """A machine without anything to mend."""
    here = Place("/home/me/runs", "", 50 * GIB)
    return Machine(
        python="3.12.1",
        executable="/usr/bin/python3",
        system="Linux",
        cores=8,
        usable_cores=8,
        cpu_quota=None,
        memory_bytes=32 * GIB,
        available_bytes=20 * GIB,
        memory_limit_bytes=None,
        shm_bytes=16 * GIB,
        shm_free_bytes=16 * GIB,
        open_files=65536,
        runs=here,
        cache=here,
        temporary=Place("/tmp", "", 50 * GIB),
        packages=[Package("torch", ">=2.9", "2.13.0", True), Package("ray", "[serve]", "2.60.0", True, "serve")],
        ray="2.60.0",
        sionna="2.2.0",
        foreign_agents="",
        shipped={"scenario": 90, "detector": 20, "policy": 2},
        torch=Torch("2.13.0+cu128", 1, (("NVIDIA H200", 140 * GIB),)),
    )


class TestLimits:
    def test_the_tightest_of_nested_groups_counts(self, tmp_path: Path) -> None:
        root = written(
            tmp_path,
            {
                "proc/self/cgroup": "0::/jobs/mine\n",
                "sys/fs/cgroup/cpu.max": "max 100000",
                "sys/fs/cgroup/jobs/cpu.max": "250000 100000",
                "sys/fs/cgroup/jobs/mine/cpu.max": "400000 100000",
                "sys/fs/cgroup/jobs/memory.max": str(4 * GIB),
                "sys/fs/cgroup/jobs/memory.current": str(3 * GIB),
                "sys/fs/cgroup/jobs/memory.stat": f"anon 1\ninactive_file {GIB}\n",
                "sys/fs/cgroup/jobs/mine/memory.max": "max",
            },
        )
        assert cpu_quota(root) == 2.5
        assert memory_limit(root) == (4 * GIB, 2 * GIB)

    def test_version_one_and_a_container_that_sees_its_own_group_only(self, tmp_path: Path) -> None:
        root = written(
            tmp_path,
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/docker/abc\n2:memory:/docker/abc\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(GIB),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": str(2 * GIB),
            },
        )
        assert cpu_quota(root) == 0.5
        assert memory_limit(root) == (GIB, 0)

    def test_no_limit(self, tmp_path: Path) -> None:
        unlimited = {"sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096)}
        root = written(tmp_path, {"proc/self/cgroup": "1:cpu:/\n2:memory:/\n", **unlimited})
        assert cpu_quota(root) is None
        assert memory_limit(root) is None
        assert cpu_quota(tmp_path / "nowhere") is None


class TestFacts:
    def test_this_machine_agrees_with_the_system(self, tmp_path: Path) -> None:
        (tmp_path / "dev/shm").mkdir(parents=True)
        (tmp_path / "dev/nvidia0").touch()
        (tmp_path / "dev/nvidiactl").touch()
        environment = {"RAY_ADDRESS": "127.0.0.1:1", "CELLFREE_CACHE_DIR": "/proc/none", "HOME": str(tmp_path)}
        machine = look(tmp_path, environment, tmp_path)
        assert machine.usable_cores == len(os.sched_getaffinity(0))
        assert machine.shm_bytes == os.statvfs(tmp_path).f_frsize * os.statvfs(tmp_path).f_blocks
        assert machine.nvidia_devices == 1
        assert machine.runs.path == str(tmp_path / "runs")
        assert not machine.runs.hindrance
        assert not (tmp_path / "runs").exists()
        assert machine.cache.hindrance.startswith("/proc: ")
        assert "no Ray cluster answers there" in machine.address_hindrance
        assert machine.variables == {"RAY_ADDRESS": "127.0.0.1:1", "CELLFREE_CACHE_DIR": "/proc/none"}
        assert machine.foreign_agents == ""
        assert machine.shipped["policy"] == 2
        assert found(machine, "Ray").status == "problem"
        assert found(machine, "channel cache").status == "note"
        assert found(machine, "GPU").status == "note"

    def test_a_folder_below_a_file_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert place(tmp_path / "file" / "runs").hindrance == f"{tmp_path / 'file'}: Not a directory"
        assert place(tmp_path / "a" / "b").free_bytes == pytest.approx(
            os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.05
        )

    def test_packages_against_their_ranges(self) -> None:
        version = metadata.version("numpy")
        asked = [f"numpy=={version}", f"numpy!={version}", "no-such-package>=1", "sphinx; extra == 'docs'"]
        asked += ["colorama; sys_platform == 'win32'", "numpy; extra == 'serve'"]
        fits = [(each.name, each.fits, each.extra) for each in packages(asked)]
        expected = [("numpy", True, ""), ("numpy", False, ""), ("no-such-package", False, ""), ("numpy", True, "serve")]
        assert fits == expected


class TestFindings:
    def test_nothing_to_mend(self, good: Machine) -> None:
        assert {finding.status for finding in judge(good)} == {"ok"}
        assert all(not finding.remedy for finding in judge(good))

    @pytest.mark.parametrize(
        ("change", "what", "status", "said"),
        [
            ({"shm_bytes": 64 * MIB, "shm_free_bytes": 64 * MIB}, "/dev/shm", "note", "--shm-size"),
            ({"shm_free_bytes": MIB}, "/dev/shm", "note", "1 MiB free of 16.0 GiB"),
            ({"shm_bytes": None, "shm_free_bytes": None}, "/dev/shm", "note", "there is none"),
            ({"usable_cores": 1}, "cores", "note", "1 of 8 usable (1 by affinity)"),
            ({"cpu_quota": 1.5}, "cores", "note", "1.5 of 8 usable (1.5 by control group)"),
            ({"available_bytes": GIB}, "memory", "note", "--engine inline"),
            ({"available_bytes": GIB // 4, "memory_limit_bytes": GIB}, "memory", "problem", "limited to 1.0 GiB"),
            ({"runs": Place("/runs", "/: Permission denied")}, "runs", "problem", "/: Permission denied"),
            ({"cache": Place("", "no home folder")}, "channel cache", "note", "CELLFREE_CACHE_DIR"),
            ({"runs": Place("/runs", "", MIB)}, "runs", "problem", "1 MiB free"),
            ({"temporary": Place("/" + 60 * "t", "", 9 * GIB)}, "temporary files", "note", "RAY_TMPDIR"),
            ({"torch": Torch(hindrance="libcudart.so: none")}, "torch", "problem", "libcudart.so"),
            ({"torch": Torch("2.13.0", 8)}, "torch", "note", "8 threads"),
            ({"torch": Torch("2.13.0+cpu", 1), "nvidia_devices": 2}, "GPU", "note", "a build of torch with CUDA"),
            (
                {"torch": Torch("2.13", 1), "nvidia_devices": 1, "variables": {"CUDA_VISIBLE_DEVICES": ""}},
                "GPU",
                "note",
                "unset CUDA_VISIBLE_DEVICES",
            ),
            ({"clusters": (7, 8)}, "other clusters", "note", "process 7, 8"),
            ({"variables": {"RAY_ADDRESS": "10.0.0.1:6379"}}, "Ray", "note", "join the cluster at 10.0.0.1:6379"),
            ({"address_hindrance": "RAY_ADDRESS x: nobody"}, "Ray", "problem", "RAY_ADDRESS x: nobody"),
            ({"foreign_agents": "/site/agents"}, "import name", "problem", "/site/agents"),
            ({"shipped": {"scenario": 0}}, "shipped files", "problem", "0 scenarios"),
            ({"packages": [Package("torch", ">=2.9", None, False)]}, "packages", "problem", "'torch>=2.9'"),
            ({"packages": [Package("torch", ">=2.9", "1.0", False)]}, "packages", "note", "torch 1.0, wanted >=2.9"),
            ({"packages": []}, "installation", "note", "folder of sources"),
            ({"packages": [Package("x", "", None, False, "serve")]}, "extra serve", "note", "cellfree-sim[serve]"),
            ({"sionna": ""}, "Sionna", "note", "no TR 38.901 channels"),
            ({"ray": ""}, "Ray", "problem", "--engine inline"),
            ({"open_files": 256}, "open files", "note", "ulimit"),
            ({"system": "Darwin"}, "system", "note", "Darwin"),
        ],
    )
    def test_what_is_wrong_is_said_with_a_remedy(
        self, good: Machine, change: dict[str, object], what: str, status: str, said: str
    ) -> None:
        finding = found(replace(good, **change), what)  # type: ignore[arg-type]
        assert finding.status == status
        assert finding.remedy
        assert said in f"{finding.found} {finding.remedy}"
        assert "\n" not in finding.found + finding.remedy


class TestCommand:
    def test_a_wrong_address_is_a_problem_and_the_exit_status_says_so(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        assert main(["doctor", "--json"]) == 0
        content = json.loads(capsys.readouterr().out)
        assert {finding["status"] for finding in content["findings"]} <= {"ok", "note"}
        assert content["machine"]["usable_cores"] == len(os.sched_getaffinity(0))
        monkeypatch.setenv("RAY_ADDRESS", "not an address")
        assert main(["doctor"]) == 1
        out = capsys.readouterr().out
        assert "problem  Ray " in out
        assert "→ unset RAY_ADDRESS" in out
        assert "1 problem" in out.splitlines()[-1]
        assert not (tmp_path / "runs").exists()
