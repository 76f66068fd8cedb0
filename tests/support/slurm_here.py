"""A Slurm of two nodes on this machine, for tests: a controller and two daemons in one folder, ended with the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue", "scontrol")
_PORTS = (7816, 7818, 7819)

CONFIG = """\
ClusterName=here
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
SlurmctldPort={0}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=2
MinJobAge=30
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName=n1 NodeHostname=localhost Port={1} CPUs=2 RealMemory=4000 State=UNKNOWN
NodeName=n2 NodeHostname=localhost Port={2} CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


class SlurmDoesNotStartError(Exception):
    """Says why."""


@contextmanager
def slurm_here(folder: Path) -> Iterator[Path]:
    """Run Slurm while the block runs; yield its configuration, for SLURM_CONF.

    Raises
    ------
    SlurmDoesNotStartError
        Where a program is missing, this is not root, or the nodes do not come up.
    """
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise SlurmDoesNotStartError(f"{missing[0]} is not installed")
    if os.geteuid() != 0:
        raise SlurmDoesNotStartError("it needs root")
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir(parents=True)
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(*_PORTS, folder=folder))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    folder.chmod(0o755)
    environment = {**os.environ, "SLURM_CONF": str(config)}
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (folder / f"{command[0]}.out").open("ab") as out:
            started.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out))

    try:
        start("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
              f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed")  # fmt: skip
        time.sleep(1)
        start("slurmctld", "-D")
        for node in ("n1", "n2"):
            start("slurmd", "-D", "-N", node)
        for _ in range(60):
            time.sleep(0.5)
            listed = subprocess.run(
                ["sinfo", "-h", "-N", "-o", "%T"], env=environment, capture_output=True, text=True, check=False
            ).stdout.split()
            if listed == ["idle", "idle"]:
                break
        else:
            raise SlurmDoesNotStartError(f"its nodes are {listed or 'silent'}; see {folder}")
        yield config
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True, check=False)
        for _ in range(40):  # without its daemon a job is not cleaned up
            left = subprocess.run(["squeue", "-h"], env=environment, capture_output=True, text=True, check=False)
            if not left.stdout.strip():
                break
            time.sleep(0.5)
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
