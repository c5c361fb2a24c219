"""What is deployed: docker-compose.yml agrees with the settings and the messages, and nothing in it opens a door."""

from __future__ import annotations

import os
import re
import runpy
import ssl
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values
from minio.error import MinioAdminException
from minio.minioadmin import MinioAdmin

from backmarket.database.encryption import KeyCipher
from backmarket.errors import ENV_PREFIX
from backmarket.messages import QUEUES
from backmarket.settings import REMOVED, RENAMED, Settings, user_agent_of
from tests.compose.report import STAND_IN, Report
from tests.support.gate import Gate, Reply
from tests.support.redis_users import redis_users
from tests.unit.test_house import CHECKOUT, LOCK, wanted_of

AGENT = "BM-Company-My Integration;contact@company.example"
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
DEV: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.dev.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"bucket", "migrate"}
OURS = {name for name, service in SERVICES.items() if service["image"] == "${BACKMARKET_IMAGE:-backmarket}"}
KUBERNETES = CHECKOUT / "deploy" / "kubernetes"
REQUIRED = re.compile(r"\$\{(\w+):?\?")
VARIABLES = re.compile(r"\$\{(\w+)(?!\w)([^}]*)")


def run(*command: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, env=env, capture_output=True, text=True)


def queues_of(service: dict[str, Any]) -> list[str]:
    command = service.get("command", [])
    return command[command.index("-Q") + 1].split(",") if "-Q" in command else []


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    return dict(service.get("environment", {}))


class TestCompose:
    def test_it_hands_on_every_setting_and_old_names_to_be_refused(self) -> None:
        example = dotenv_values(CHECKOUT / ".env.example", interpolate=False)
        old = {f"{ENV_PREFIX}{name.upper()}" for name in (*RENAMED, *REMOVED)}
        handed_on = COMPOSE["x-settings"] | SERVICES["console"]["environment"]
        assert {name for name in handed_on if name.startswith(ENV_PREFIX)} == set(example) | old

    def test_the_console_alone_has_its_settings(self) -> None:
        having = {n for n, s in SERVICES.items() if any(v.startswith("BACKMARKET_CONSOLE_") for v in environment_of(s))}
        assert having == {"console"}

    def test_each_queue_has_one_pool(self) -> None:
        queues = [queue for service in SERVICES.values() for queue in queues_of(service)]
        assert sorted(queues) == sorted(set(QUEUES.values()))

    def test_there_are_two_beats_and_all_processes_are_of_one_image(self) -> None:
        assert SERVICES["beat"]["scale"] == 2
        assert {name for name in SERVICES if name.startswith("worker-")} | {
            "beat",
            "console",
            "flower",
            "metrics",
            *ONCE,
        } == OURS

    def test_only_console_flower_and_minio_are_published_and_to_this_machine_alone(self) -> None:
        published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
        assert set(published) == {"console", "flower", "minio"}
        developers = [service["ports"] for service in DEV["services"].values() if "ports" in service]
        assert all(port.startswith("127.0.0.1:") for ports in [*published.values(), *developers] for port in ports)

    @pytest.mark.parametrize("name", SERVICES)
    def test_each_service_is_bounded_healthy_and_started_again(self, name: str) -> None:
        service = SERVICES[name]
        assert service["mem_limit"]
        assert service["logging"]["options"]["max-size"]
        assert service["restart"] == ("on-failure" if name in ONCE else "unless-stopped")
        assert "healthcheck" in service or name in OURS, "ours have that of the image"
        assert name not in ONCE or service["healthcheck"] == {"disable": True}
        contained = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
        assert {key: service[key] for key in contained} == contained
        assert {"cap_add", "privileged"} & set(service) == set()
        assert name not in OURS or service["init"]

    def test_workers_may_take_longer_to_end_than_a_request(self) -> None:
        example = dotenv_values(CHECKOUT / ".env.example")
        longest = float(example["BACKMARKET_REQUEST_DEADLINE"] or 0)
        assert all(int(SERVICES[name]["stop_grace_period"].rstrip("s")) > longest for name in OURS)

    def test_no_secret_has_a_default(self) -> None:
        text = (CHECKOUT / "docker-compose.yml").read_text()
        secret = re.compile(r"PASSWORD|SECRET|LIMITER_KEY$|BASIC_AUTH")
        found = {name: rest for name, rest in VARIABLES.findall(text) if secret.search(name)}
        assert len(found) >= 7
        assert {name for name, rest in found.items() if not rest.startswith((":?", "?"))} == set()
        for service in SERVICES.values():
            for name, value in environment_of(service).items():
                assert value is None or not secret.search(name) or "?" in value, name

    def test_a_missing_variable_is_named(self) -> None:
        text = (CHECKOUT / "docker-compose.yml").read_text()
        said = re.findall(r"\$\{(\w+):?\?(\w+) is not set\. deploy/secrets writes \.env\}", text)
        assert len(said) == len(REQUIRED.findall(text))
        assert all(name == named for name, named in said)

    def test_the_development_file_changes_services_that_are_there_and_adds_the_sandbox(self) -> None:
        assert set(DEV["services"]) - set(SERVICES) == {"sandbox"}
        assert set(DEV["services"]) >= OURS
        assert all("ports" not in environment_of(service) for service in DEV["services"].values())

    @pytest.mark.parametrize("name", SERVICES)
    def test_a_service_is_in_the_networks_of_what_its_settings_name(self, name: str) -> None:
        service = SERVICES[name]
        has = {network for network, setting in NETWORKS.items() if ENV_PREFIX + setting in environment_of(service)}
        has |= {network for network, server in SERVERS.items() if server == name}
        if "ports" in service and "outside" not in has:
            has.add("published")
        assert set(service["networks"]) == has

    def test_only_what_calls_the_api_has_a_way_out(self) -> None:
        internal = {name for name, network in COMPOSE["networks"].items() if (network or {}).get("internal")}
        assert internal == set(SERVERS)
        assert set(COMPOSE["networks"]) - internal == {"outside", "published"}
        bridge = "com.docker.network.bridge"
        closed = {f"{bridge}.enable_ip_masquerade": "false", f"{bridge}.enable_icc": "false"}
        assert COMPOSE["networks"]["published"]["driver_opts"] == closed
        assert sorted(COMPOSE["networks"]).index("outside") < sorted(COMPOSE["networks"]).index("published"), (
            "Docker leads the way out by the network whose name comes first"
        )

    def test_each_process_is_a_user_of_its_own_on_redis(self) -> None:
        given = {name: environment_of(service).get("BACKMARKET_REDIS_URL") for name, service in SERVICES.items()}
        found = {name: LOGIN.fullmatch(url) for name, url in given.items() if url}
        assert {name: login and login["user"] for name, login in found.items()} == REDIS_USERS
        assert all(login and login["variable"] == f"REDIS_{login['user'].upper()}_PASSWORD" for login in found.values())
        assert set(SERVICES["redis"]["environment"]) == {
            f"REDIS_{user.upper()}_PASSWORD" for user in set(redis_users()) - {"default"}
        }
        assert set(redis_users()) == {*REDIS_USERS.values(), "admin", "default"}


NETWORKS = {
    "broker": "REDIS_URL",
    "database": "DATABASE_URL",
    "storage": "S3_ENDPOINT_URL",
    "monitoring": "HEALTH_PORT",
    "outside": "USER_AGENT",
}
"""The networks, each with the setting whose holders are in it."""
SERVERS = {"broker": "redis", "database": "postgres", "storage": "minio", "monitoring": "prometheus"}
"""The networks of servers, each with the server in it."""
LOGIN = re.compile(r"redis://(?P<user>\w+):\$\{(?P<variable>\w+):\?[^}]*\}@redis:6379/0")
REDIS_USERS = dict.fromkeys((name for name in OURS if name.startswith("worker-")), "worker") | {
    "beat": "beat", "console": "producer", "flower": "flower", "metrics": "metrics",
}  # fmt: skip
"""The user of each process on Redis."""


class TestRedis:
    @pytest.fixture
    def told(self, tmp_path: Path) -> str:
        """What `deploy/redis/start` tells a server, whose users have the passwords `NAME-word`."""
        (tmp_path / "redis-server").write_text('#!/bin/sh\necho "$@"\ncat /tmp/users.acl\n')
        (tmp_path / "redis-server").chmod(0o755)
        passwords = {f"REDIS_{user.upper()}_PASSWORD": f"{user}-word" for user in set(redis_users())}
        start = CHECKOUT / "deploy" / "redis" / "start"
        return run("sh", start, env=passwords | {"PATH": f"{tmp_path}:{os.defpath}"}).stdout

    def test_each_user_is_one_line_with_its_password(self, told: str) -> None:
        options, *lines = [line for line in told.splitlines() if line]
        assert "--maxmemory-policy noeviction" in options
        assert "--appendonly yes" in options
        assert {line.split()[1] for line in lines} == set(redis_users())
        assert all(line.startswith("user ") for line in lines)
        assert {line.split()[3] for line in lines if "default" not in line} == {
            f">{user}-word" for user in set(redis_users()) - {"default"}
        }
        assert "default off " in told

    def test_an_administrator_alone_may_do_everything(self, told: str) -> None:
        everything = [line.split()[1] for line in told.splitlines() if "+@all" in line or "~* " in line]
        assert everything == ["admin"]


NEEDS = {"beat": {"broker"}, "flower": {"broker", "flower"}, "metrics": {"broker", "database"}, "migrate": {"database"}}
"""The secrets of the processes that must not have all of them."""
SECRETS = {"broker": "REDIS_URL", "database": "DATABASE_URL", "worker": "SECRET_KEYS"}
"""A setting of each secret."""


LOGINS = {"migrate": "owner", "console": "console", "metrics": "metrics"}
"""The database logins of the processes that are no workers."""


@pytest.mark.parametrize("name", sorted(OURS - {"bucket", "beat", "flower"}))
def test_a_process_of_the_compose_file_has_its_own_login_at_the_database(name: str) -> None:
    login = LOGINS.get(name, "worker")
    has = environment_of(SERVICES[name])
    password = "BACKMARKET_DB_PASSWORD" if login == "owner" else f"BACKMARKET_DB_{login.upper()}_PASSWORD"
    user = "backmarket" if login == "owner" else login
    assert has["BACKMARKET_DATABASE_URL"].startswith(f"postgresql://{user}:${{{password}:?")
    assert {each for value in has.values() for each in re.findall(r"\{(BACKMARKET_DB_\w+)", value or "")} == {password}
    making = (CHECKOUT / "deploy" / "postgres" / "backmarket.sh").read_text()
    role = "" if login == "owner" else f" IN ROLE backmarket_{login}"
    (variable,) = re.findall(rf"CREATE ROLE {user} LOGIN PASSWORD :'(\w+)'{role};", making)
    assert f'--set={variable}="${password}"' in making
    assert password in environment_of(SERVICES["postgres"])


@pytest.mark.parametrize("name", sorted(OURS - ONCE | {"migrate"}))
def test_a_process_of_the_compose_file_has_no_secret_that_it_does_not_need(name: str) -> None:
    needs = NEEDS.get(name, set(SECRETS))
    has = environment_of(SERVICES[name])
    assert {secret for secret, setting in SECRETS.items() if ENV_PREFIX + setting in has} == needs & set(SECRETS)
    if name in NEEDS:
        secret = re.compile("SECRET_KEY|LIMITER_KEY|CONSOLE_PASSWORD|SESSION_KEY|S3_ACCESS_KEY")
        assert [each for each in has if secret.search(each)] == []


class TestKubernetes:
    @staticmethod
    def objects() -> list[dict[str, Any]]:
        resources = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
        return [each for name in resources for each in yaml.safe_load_all((KUBERNETES / name).read_text())]

    def test_the_processes_are_those_of_the_compose_file(self) -> None:
        found = {}
        for each in self.objects():
            if each["kind"] in {"Deployment", "Job"}:
                (container,) = each["spec"]["template"]["spec"]["containers"]
                found[each["metadata"]["name"]] = [*container["command"], *container.get("args", [])]
        assert found == {name: SERVICES[name]["command"] for name in OURS - {"bucket"}}

    def test_a_process_has_no_secret_that_it_does_not_need(self) -> None:
        found = {}
        for each in self.objects():
            if each["kind"] in {"Deployment", "Job"}:
                (container,) = each["spec"]["template"]["spec"]["containers"]
                named = (source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source)
                found[each["metadata"]["name"]] = {name.removeprefix("backmarket-") for name in named}
        wanted = {name: set(NEEDS.get(name, SECRETS)) for name in OURS - {"bucket"}}
        wanted["console"].add("console")
        for name, user in REDIS_USERS.items():
            wanted[name] = wanted[name] - {"broker"} | {f"broker-{user}"}
        for name, secrets in wanted.items():
            if "database" in secrets:
                wanted[name] = secrets - {"database"} | {f"database-{LOGINS.get(name, 'worker')}"}
        assert found == wanted
        assert "envFrom" not in (KUBERNETES / "process.yaml").read_text()

    def test_each_pod_reaches_what_its_secrets_name_and_is_reached_by_prometheus_alone(self) -> None:
        policies = {
            each["metadata"]["name"]: each["spec"] for each in self.objects() if each["kind"] == "NetworkPolicy"
        }
        ours = {"matchLabels": {"app.kubernetes.io/name": "backmarket"}}
        everyones = policies.pop("nothing-else"), policies.pop("names")
        assert everyones[0] == {"podSelector": ours, "policyTypes": ["Ingress", "Egress"]}
        assert everyones[1]["podSelector"] == ours
        people = policies.pop("people")
        assert people["podSelector"]["matchExpressions"][0]["values"] == ["console", "flower"]
        found = {}
        for name, policy in policies.items():
            (one,) = policy["podSelector"]["matchExpressions"]
            assert (one["key"], one["operator"]) == ("app.kubernetes.io/component", "In")
            assert policy["policyTypes"] == ["Ingress" if name == "monitoring" else "Egress"]
            found[name] = set(one["values"])
        in_compose = {name: {each for each in OURS if name in SERVICES[each]["networks"]} for name in NETWORKS}
        # the bucket's job and the ports of Flower and the console are no part of these manifests
        assert found == in_compose | {
            "storage": in_compose["storage"] - {"bucket"},
            "monitoring": in_compose["monitoring"] - {"flower", "console"},
        }

    def test_each_pod_has_the_label_that_the_policies_look_for(self) -> None:
        for each in self.objects():
            if each["kind"] in {"Deployment", "Job"}:
                labels = each["spec"]["template"]["metadata"]["labels"]
                assert labels == {"app.kubernetes.io/component": each["metadata"]["name"]}

    def test_the_settings_are_ours(self) -> None:
        (made,) = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["configMapGenerator"]
        names = {literal.partition("=")[0] for literal in made["literals"]}
        assert names <= set(COMPOSE["x-settings"])

    def test_the_autoscaler_looks_at_the_queues_of_the_pool_that_it_scales(self) -> None:
        (scaled,) = [each for each in self.objects() if each["kind"] == "ScaledObject"]
        target = scaled["spec"]["scaleTargetRef"]["name"]
        lists = [trigger["metadata"]["listName"] for trigger in scaled["spec"]["triggers"]]
        assert sorted(lists) == sorted(queues_of(SERVICES[target]))

    def test_every_file_is_used(self) -> None:
        listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
        used = {*listed["resources"], *(patch["path"] for patch in listed["patches"]), "kustomization.yaml"}
        assert used == {path.name for path in KUBERNETES.iterdir()}


class TestSecrets:
    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        (tmp_path / "deploy").mkdir()
        (tmp_path / "deploy" / "secrets").write_bytes((CHECKOUT / "deploy" / "secrets").read_bytes())
        return tmp_path

    def run(self, checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run("sh", checkout / "deploy" / "secrets", *arguments)

    def test_they_are_all_that_is_required_and_can_be_used(self, checkout: Path) -> None:
        assert self.run(checkout, AGENT).returncode == 0
        written = dotenv_values(checkout / ".env")
        assert set(written) == set(REQUIRED.findall((CHECKOUT / "docker-compose.yml").read_text()))
        assert all(written.values())
        assert user_agent_of(written["BACKMARKET_USER_AGENT"] or "") == AGENT
        cipher = KeyCipher((written["BACKMARKET_SECRET_KEYS"] or "",))
        assert cipher.decrypt(cipher.encrypt("a token")) == "a token"
        assert stat.S_IMODE((checkout / ".env").stat().st_mode) == 0o600
        secrets = [value for name, value in written.items() if name != "BACKMARKET_USER_AGENT"]
        assert len(set(secrets)) == len(secrets)
        assert all(len(value or "") >= 38 for value in secrets), "none can be guessed"

    def test_what_is_there_is_left_alone(self, checkout: Path) -> None:
        (checkout / ".env").write_text("MINE=1\n")
        result = self.run(checkout, AGENT)
        assert (result.returncode, (checkout / ".env").read_text()) == (1, "MINE=1\n")

    @pytest.mark.parametrize("agent", [(), ("",), ("Company;contact@company.example",), ("BM-Company-Sync",)])
    def test_who_calls_must_be_said_in_the_form_of_the_api(self, checkout: Path, agent: tuple[str, ...]) -> None:
        result = self.run(checkout, *agent)
        assert result.returncode == 2
        assert "BM-Company-Integration;contact@company.example" in result.stderr
        assert not (checkout / ".env").exists()


class TestInstall:
    @pytest.mark.parametrize("extras", [["worker"], ["worker", "console"], ["worker", "sandbox"], ["embedded"]])
    def test_an_image_gets_what_its_extras_need_and_not_the_developers_tools(self, extras: list[str]) -> None:
        needed = wanted_of(extras)
        assert needed & {"pytest", "mypy", "django", "ruff", "hypothesis", "uv"} == set()
        assert ("uvicorn" in needed) == (extras != ["worker"])

    def test_the_image_takes_only_what_the_lock_has_hashes_for(self) -> None:
        dockerfile = (CHECKOUT / "Dockerfile").read_text()
        assert "UV_CONSTRAINT=requirements.lock UV_BUILD_CONSTRAINT=requirements.lock" in dockerfile
        installs = [line for line in dockerfile.splitlines() if re.search(r"pip install(?! .*--no-deps \.)", line)]
        assert len(installs) == 2
        assert all("--require-hashes" in line for line in installs)

    def test_uv_is_in_the_lock_as_setup_and_the_image_look_for_it(self) -> None:
        command = "awk '/^[^ #]/ { on = /^uv==/ } on' requirements.lock >"
        assert all(command in (CHECKOUT / name).read_text() for name in ("scripts/setup", "Dockerfile"))
        assert re.search(r"(?m)^uv==[\d.]+ \\\n    --hash=sha256:", LOCK)

    @pytest.fixture
    def environment(self, tmp_path: Path) -> Path:
        """An environment whose uv tells what it was given."""
        (tmp_path / "python").symlink_to(sys.executable)
        (tmp_path / "uv").write_text('#!/bin/sh\nenv\nprintf "arguments: %s\\n" "$*"\n')
        (tmp_path / "uv").chmod(0o755)
        return tmp_path

    def test_uv_uses_what_pip_is_configured_with(self, environment: Path) -> None:
        configuration = environment / "pip.conf"
        configuration.write_text(
            "[global]\nindex-url = http://general.test/simple\ntrusted-host = one.test\n  two.test\n"
            "cert = /certificates.pem\n[install]\nindex-url = http://install.test/simple\ntimeout = 30\n"
        )
        command = (CHECKOUT / "scripts" / "uv", environment, "pip", "list")
        told = run(*command, env={"PATH": os.defpath, "PIP_CONFIG_FILE": str(configuration)}).stdout.splitlines()
        assert {
            "UV_DEFAULT_INDEX=http://install.test/simple",
            "UV_INSECURE_HOST=one.test two.test",
            "SSL_CERT_FILE=/certificates.pem",
            "UV_HTTP_TIMEOUT=30",
            "arguments: pip list",
        } <= set(told)
        mine = {"PATH": os.defpath, "PIP_CONFIG_FILE": str(configuration), "PIP_INDEX_URL": "http://pip.test/simple"}
        told = run(*command, env={**mine, "UV_HTTP_TIMEOUT": ""}).stdout.splitlines()
        assert {"UV_DEFAULT_INDEX=http://pip.test/simple", "UV_HTTP_TIMEOUT="} <= set(told)


ROOT_KEYS = {"MINIO_ROOT_USER": "root-user", "MINIO_ROOT_PASSWORD": "root-secret"}
USER_KEYS = {"BACKMARKET_S3_ACCESS_KEY": "worker", "BACKMARKET_S3_SECRET_KEY": "worker-secret"}


class TestBucket:
    @pytest.mark.parametrize(
        ("changed", "text"),
        [
            ({"BACKMARKET_S3_SECRET_KEY": "1234567"}, "BACKMARKET_S3_SECRET_KEY needs 8 characters or more.\n"),
            ({"BACKMARKET_S3_ACCESS_KEY": "ab"}, "BACKMARKET_S3_ACCESS_KEY needs 3 characters or more.\n"),
            ({"BACKMARKET_S3_ACCESS_KEY": "root-user"}, "BACKMARKET_S3_ACCESS_KEY must not be MINIO_ROOT_USER"),
        ],
    )
    def test_a_user_that_minio_would_refuse_is_not_even_tried(self, changed: dict[str, str], text: str) -> None:
        env = {**ROOT_KEYS, **USER_KEYS, "BACKMARKET_S3_ENDPOINT_URL": "http://127.0.0.1:1"} | changed
        assert run(sys.executable, CHECKOUT / "deploy" / "bucket.py", env=env).stderr.startswith(text)

    @pytest.mark.parametrize(
        ("code", "advice"),
        [
            ("AuthorizationHeaderMalformed", "Set BACKMARKET_S3_REGION to its region."),
            ("SignatureDoesNotMatch", "Set MINIO_ROOT_USER and MINIO_ROOT_PASSWORD to its root keys."),
        ],
    )
    def test_a_refusal_of_minio_says_what_to_do(self, code: str, advice: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>root-secret</Message></Error>".encode()
        with Gate(Reply(400, body, {"content-type": "application/xml"})) as minio:
            minio.open.set()
            env = {**ROOT_KEYS, **USER_KEYS, "BACKMARKET_S3_ENDPOINT_URL": minio.url}
            result = run(sys.executable, CHECKOUT / "deploy" / "bucket.py", env=env)
        assert result.stderr == f"MinIO at {minio.url} did not do it: {code}. {advice}\n"

    def test_the_reasons_of_the_administration_and_of_tls_are_told_and_nothing_is_quoted(self) -> None:
        reason = runpy.run_path(str(CHECKOUT / "deploy" / "bucket.py"))["_reason"]
        weak = MinioAdminException("400", '{"Code": "XMinioAdminInvalidSecretKey", "Message": "root-secret"}')
        assert reason(weak) == "XMinioAdminInvalidSecretKey. BACKMARKET_S3_SECRET_KEY needs 8 characters or more"
        assert reason(MinioAdminException("502", "<html>root-secret")) == "status 502"
        assert "SSL_CERT_FILE" in reason(ssl.SSLCertVerificationError("[SSL: CERTIFICATE_VERIFY_FAILED] failed"))
        assert reason(ValueError("root-secret")) == "ValueError"

    def test_no_policy_of_another_is_overwritten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[tuple[str, str]] = []
        for name in ("policy_add", "policy_set", "user_add"):
            monkeypatch.setattr(MinioAdmin, name, lambda _, what, *__, _name=name, **___: calls.append((_name, what)))
        make_user = runpy.run_path(str(CHECKOUT / "deploy" / "bucket.py"))["_make_user"]
        make_user({**ROOT_KEYS, **USER_KEYS, "BACKMARKET_S3_ENDPOINT_URL": "http://127.0.0.1:1"}, "readonly")
        assert calls == [
            ("policy_add", "backmarket-readonly"),
            ("user_add", "worker"),
            ("policy_set", "backmarket-readonly"),
        ]

    def test_what_is_missing_is_named(self) -> None:
        root = {"MINIO_ROOT_USER": "root", "MINIO_ROOT_PASSWORD": "secret"}
        result = run(sys.executable, CHECKOUT / "deploy" / "bucket.py", env=root)
        assert result.returncode == 1
        assert result.stderr == (
            "Set BACKMARKET_S3_ENDPOINT_URL, BACKMARKET_S3_ACCESS_KEY, BACKMARKET_S3_SECRET_KEY.\n"
        )


def test_every_line_of_the_compose_report_says_that_a_stand_in_answers_for_minio(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = Report(STAND_IN)
    report.say("memory at most: " + "word " * 60)
    with report.step("All labels are in the bucket"):
        pass
    report.failed("It failed")
    told = capsys.readouterr()
    lines = (told.out + told.err).splitlines()
    assert len(lines) == 3
    assert all(STAND_IN in line for line in lines)


def test_the_page_on_kubernetes_names_every_secret_and_makes_each() -> None:
    page = (CHECKOUT / "docs" / "deployment.md").read_text().partition("\n## Kubernetes")[2]
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert len(secret) >= 10
    assert [name for name in sorted(secret) if f"`{ENV_PREFIX}{name.upper()}`" not in page] == []
    named = {
        name for path in KUBERNETES.iterdir() for name in re.findall(r"name: backmarket-([\w-]+)", path.read_text())
    }
    (made,) = re.findall(r"for role in ([\w\\\s-]+); do", page)
    assert set(made.replace("\\", " ").split()) == named
    assert {name for name in named if f"`{name}.env`" not in page} == set()
