"""The Slurm script and the Kubernetes Job give each worker a sound TF_CONFIG; their commands are replaced."""

import json
import os
import subprocess

import pytest
from tiny import ROOT

from drl_tf import cluster


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """`drl-tf` prints TF_CONFIG and its options, `srun` starts two tasks, `scontrol` names two hosts."""
    scripts = {
        'drl-tf': 'printf "%s\\n" "$TF_CONFIG" "$*"',
        'srun': 'shift; for task in 0 1; do SLURM_PROCID=$task "$@"; done',
        'scontrol': 'printf "n7\\nn8\\n"',
    }
    for name, script in scripts.items():
        (tmp_path / name).write_text(f'#!/bin/sh\n{script}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')


def workers_of(monkeypatch, text):
    monkeypatch.setenv('TF_CONFIG', text)
    return cluster.workers()


@pytest.mark.usefixtures('stand_ins')
def test_slurm(monkeypatch):
    lines = subprocess.run(['bash', ROOT / 'docs' / 'slurm.sh', '--a=1'], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[1::2] == ['--a=1', '--a=1']
    found = [workers_of(monkeypatch, line) for line in lines[::2]]
    assert [(each.addresses, each.index) for each in found] == [(('n7:2222', 'n8:2222'), index) for index in range(2)]


@pytest.mark.usefixtures('stand_ins')
def test_kubernetes(monkeypatch):
    service, job = json.loads((ROOT / 'docs' / 'kubernetes_job.json').read_text())['items']
    pod = job['spec']['template']
    (container,) = pod['spec']['containers']
    assert (service['kind'], job['kind'], job['spec']['completionMode']) == ('Service', 'Job', 'Indexed')
    assert service['spec']['selector'].items() <= pod['metadata']['labels'].items()
    assert pod['spec']['subdomain'] == service['metadata']['name'] and pod['spec']['restartPolicy'] == 'Never'
    assert {mount['name'] for mount in container['volumeMounts']} <= {volume['name'] for volume in pod['spec']['volumes']}
    for variable in container['env']:
        monkeypatch.setenv(variable['name'], variable['value'])
    count, name = job['spec']['completions'], job['metadata']['name']
    assert count == job['spec']['parallelism']
    for index in range(count):
        monkeypatch.setenv('JOB_COMPLETION_INDEX', str(index))
        done = subprocess.run([*container['command'], *container['args']], capture_output=True, text=True, check=True)
        found = workers_of(monkeypatch, done.stdout.splitlines()[0])
        assert found.addresses == tuple(f'{name}-{i}.{service["metadata"]["name"]}:2222' for i in range(count)) and found.index == index
        assert {int(address.rpartition(':')[2]) for address in found.addresses} == {container['ports'][0]['containerPort']}
