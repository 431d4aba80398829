"""The Slurm script and the JobSet of Kubernetes give each worker a sound TF_CONFIG; their commands are
replaced."""

import os
import subprocess

import jsonschema
import kubernetes_validate
import pytest
import yaml
from helpers.tiny import ROOT

from drl_tf.distributed import cluster


def of(required, **properties):
    """The schema of an object of these properties and no others."""
    return {'type': 'object', 'required': required, 'properties': properties, 'additionalProperties': False}


TEXT, COUNT, SWITCH = {'type': 'string'}, {'type': 'integer', 'minimum': 0}, {'type': 'boolean'}
RULE = of(
    ['name', 'action'],
    name={'type': 'string', 'pattern': '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$'},
    action={'enum': ['FailJobSet', 'RestartJobSet', 'RestartJobSetAndIgnoreMaxRestarts']},
    onJobFailureReasons={
        'type': 'array',
        'items': {'enum': ['BackoffLimitExceeded', 'DeadlineExceeded', 'PodFailurePolicy']},
    },
)
JOBSET = of(
    ['apiVersion', 'kind', 'metadata', 'spec'],
    apiVersion={'const': 'jobset.x-k8s.io/v1alpha2'},
    kind={'const': 'JobSet'},
    metadata=of(['name'], name=TEXT),
    spec=of(
        ['replicatedJobs'],
        network=of([], enableDNSHostnames=SWITCH, subdomain=TEXT, publishNotReadyAddresses=SWITCH),
        failurePolicy=of([], maxRestarts=COUNT, rules={'type': 'array', 'items': RULE}),
        replicatedJobs={
            'type': 'array',
            'items': of(['name', 'template'], name=TEXT, replicas=COUNT, template={'type': 'object'}),
        },
    ),
)


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
    lines = subprocess.run(
        ['bash', ROOT / 'docs' / 'slurm.sh', '--a=1'], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert lines[1::2] == ['--a=1', '--a=1']
    found = [workers_of(monkeypatch, line) for line in lines[::2]]
    assert [(each.addresses, each.index) for each in found] == [
        (('n7:2222', 'n8:2222'), index) for index in range(2)
    ]


def manifest():
    return yaml.safe_load((ROOT / 'docs' / 'kubernetes_jobset.yaml').read_text())


def test_the_jobset_is_valid():
    """Its Job by the schema of Kubernetes; what is around it, whose schema comes with its controller, by that
    schema's part in use."""
    jobset = manifest()
    jsonschema.validate(jobset, JOBSET)
    (job,) = jobset['spec']['replicatedJobs']
    whole = {'apiVersion': 'batch/v1', 'kind': 'Job', 'metadata': {'name': job['name']}, **job['template']}
    kubernetes_validate.validate(whole, '1.31', strict=True)
    whole['spec']['completionMode'] = 'Indexd'
    whole['spec']['paralelism'] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(whole, '1.31', strict=True)


@pytest.mark.usefixtures('stand_ins')
def test_the_workers_of_the_jobset(monkeypatch):
    jobset = manifest()
    (job,) = jobset['spec']['replicatedJobs']
    pod = job['template']['spec']['template']
    (container,) = pod['spec']['containers']
    assert {mount['name'] for mount in container['volumeMounts']} <= {
        volume['name'] for volume in pod['spec']['volumes']
    }
    for variable in container['env']:
        monkeypatch.setenv(variable['name'], variable['value'])
    count, name, subdomain = (
        job['template']['spec']['completions'],
        jobset['metadata']['name'],
        jobset['spec']['network']['subdomain'],
    )
    assert count == job['template']['spec']['parallelism']
    for index in range(count):
        monkeypatch.setenv('JOB_COMPLETION_INDEX', str(index))
        done = subprocess.run(
            [*container['command'], *container['args']], capture_output=True, text=True, check=True
        )
        found = workers_of(monkeypatch, done.stdout.splitlines()[0])
        assert (
            found.addresses == tuple(f'{name}-{job["name"]}-0-{i}.{subdomain}:2222' for i in range(count))
            and found.index == index
        )
        assert {int(address.rpartition(':')[2]) for address in found.addresses} == {
            container['ports'][0]['containerPort']
        }
