"""Every setting of Gantry: `GANTRY_*` environment variables, or the same names in lower case in a TOML file.

Read by app.main and app.cli only; values are handed down. The table in docs/operations.md is compared with this file by a test.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

MOST_COUNTED = 2**31 - 1
MOST_BYTES = 2**60
# RFC 6454 6.2: what a browser sends has no path, not even a slash at its end. Scheme and host are in lower case.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\sA-Z/?#@]*")


class DuplicateSetting(StrEnum):
    REPLACE = "replace"
    KEEP = "keep"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class Settings(BaseSettings):
    """Defaults make one process on a laptop: SQLite and a folder below `data_dir`."""

    model_config = SettingsConfigDict(env_prefix="GANTRY_", extra="ignore", toml_file="gantry.toml")

    data_dir: Path = Field(
        Path("gantry-data"), description="Folder of the database, the blobs, the spool and the cache."
    )
    database_url: str = Field("", description="SQLite or PostgreSQL URL. Empty: `gantry.sqlite` below the data folder.")
    blob_url: str = Field(
        "",
        description="Folder, `s3://bucket/prefix`, `gs://…` or `az://…`. Empty: `blobs` below the data folder.",
    )
    public_url: str = Field(
        "",
        description="URL of the server as clients see it, e.g. `https://pacs.example.org`; used in every URL that is sent.",
    )
    trust_forwarded: bool = Field(
        False,
        description="Take scheme, host and prefix from Forwarded and X-Forwarded-* headers. Only behind a proxy that sets them.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=256, description="Server processes.")
    database_pool_size: int = Field(
        10,
        ge=1,
        le=1000,
        description="Database connections per process; with PostgreSQL, up to four more for look-ups.",
    )

    duplicates: DuplicateSetting = Field(
        DuplicateSetting.REPLACE,
        description="What happens when other bytes come for a stored SOP Instance UID: `replace` or `keep`.",
    )
    retention_days: float = Field(
        30,
        ge=0,
        le=36_500,
        description="How long replaced and deleted instances can be restored; at most a hundred years.",
    )
    searchable_attributes: str = Field(
        "",
        description="More attributes to index for search: comma-separated keywords, tags or sequence paths; the same for all "
        "servers of an archive. What is stored already is read one by one until `gantry reindex`.",
    )
    bulkdata_threshold: int = Field(
        1024,
        ge=0,
        le=MOST_BYTES,
        description="Binary and numeric values longer than this many bytes are sent by BulkDataURI; texts longer than "
        "64 KiB.",
    )

    strict_accept: bool = Field(
        False, description="Answer 406 to requests without an Accept header, as PS3.18 8.7.5 asks."
    )
    search_empty_status: int = Field(
        200,
        description="Status of a search without results: 200 with an empty list, or 204 as editions up to 2024e say.",
    )
    search_max_results: int = Field(1000, ge=1, le=100_000, description="Most results in one answer to a search.")
    search_candidate_cap: int = Field(
        10_000,
        ge=1,
        le=MOST_COUNTED,
        description="Most candidates that are read to match an attribute that is not indexed.",
    )

    max_request_bytes: int = Field(
        0, ge=0, le=MOST_BYTES, description="Largest request body in bytes, after decompression; 0 is unlimited."
    )
    max_parts: int = Field(100_000, ge=1, le=MOST_COUNTED, description="Most parts in one multipart request.")
    max_frames_per_request: int = Field(
        100_000, ge=1, le=MOST_COUNTED, description="Most frame numbers in one request."
    )
    min_free_bytes: int = Field(
        64 * 1024 * 1024,
        ge=0,
        le=MOST_BYTES,
        description="Uploads are refused when the spool's disk has less room than this.",
    )
    max_decoded_bytes: int = Field(
        1024**3,
        ge=1,
        le=MOST_BYTES,
        description="Largest frame, in bytes after decoding, that is decoded.",
    )
    codec_threads: int = Field(
        0, ge=0, le=1024, description="Threads that decode and encode pixel data; 0 is one per processor."
    )
    codec_timeout_seconds: float = Field(
        60, gt=0, le=86_400, description="Longest time in seconds that one frame may take to decode and to encode."
    )

    cache_dir: str = Field(
        "",
        description="Folder of converted and rendered data, which may be lost at any time. Empty: `cache` below the data folder.",
    )
    cache_bytes: int = Field(
        2 * 1024**3, ge=0, le=MOST_BYTES, description="Size of that folder in bytes; 0 keeps nothing."
    )

    sync: bool = Field(
        True,
        description="Force blobs to disk before an upload is answered. Only ever switch off to load data that can be loaded again.",
    )
    cors_origins: str = Field(
        "*",
        description="Origins that browsers may call from, e.g. `https://ohif.example.org`, comma-separated; `*` is any, empty "
        "is none.",
    )
    log_format: LogFormat = Field(LogFormat.TEXT, description="`text` or `json`.")
    metrics_dir: str = Field(
        "",
        description="Folder in which each `serve` of several processes makes one where they add up their metrics. "
        "Empty: among temporary files.",
    )
    log_level: str = Field("info", description="`debug`, `info`, `warning` or `error`.")

    @field_validator("search_empty_status")
    @classmethod
    def _known_status(cls, value: int) -> int:
        if value not in (200, 204):
            raise ValueError("must be 200 or 204")
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.lower() not in ("debug", "info", "warning", "error"):
            raise ValueError("must be debug, info, warning or error")
        return value.lower()

    @field_validator("cors_origins")
    @classmethod
    def _as_browsers_send_them(cls, value: str) -> str:
        for origin in (one.strip() for one in value.split(",")):
            if origin not in ("", "*", "null") and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin} is no origin: those have a scheme and a host, no path, as in https://ohif.example.org"
                )
        return value

    @field_validator("public_url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value:
            return value
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        url = urlsplit(value)  # raises ValueError
        if not url.hostname or any(mark in value for mark in "?# "):
            raise ValueError("must be a scheme, a host and at most a path, as in https://pacs.example.org/archive")
        return value.rstrip("/")

    @property
    def effective_database_url(self) -> str:
        # Quoted: the folder may have a name with a question mark or a percent sign, which mean something in a URL.
        path = quote(str(self.data_dir.resolve() / "gantry.sqlite"))
        return self.database_url or f"sqlite+aiosqlite:///{path}"

    @property
    def effective_blob_url(self) -> str:
        return self.blob_url or str(self.data_dir.resolve() / "blobs")

    @property
    def effective_cache_dir(self) -> Path:
        return Path(self.cache_dir) if self.cache_dir else self.data_dir.resolve() / "cache"

    @property
    def spool_dir(self) -> Path:
        return self.data_dir / "spool"

    @classmethod
    def unknown(cls, environment: Iterable[str]) -> tuple[list[str], list[str]]:
        """Names like those of settings that none has: in the environment, and in gantry.toml. Nothing reads them.

        Raises what reading the file does: tomllib.TOMLDecodeError, OSError.
        """
        prefix = str(cls.model_config["env_prefix"])
        known = cls.model_fields.keys()
        named = [name for name in environment if name.upper().startswith(prefix)]
        in_file = TomlConfigSettingsSource(cls).toml_data
        return (
            sorted(name for name in named if name[len(prefix) :].lower() not in known),
            sorted(name for name in in_file if name not in known),
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then gantry.toml of the working folder."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)
