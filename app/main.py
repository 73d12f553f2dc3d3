"""The whole wiring on one page: settings in, application out."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__
from app.api import (
    bulkdata,
    bulkdata_collections,
    capabilities,
    delete,
    frames,
    health,
    home,
    metadata,
    reference,
    rendered,
    retrieve,
    search,
    store,
    thumbnail,
    wado_uri,
)
from app.api.compression import CompressText
from app.api.cross_origin import CrossOrigin
from app.api.dependencies import Door
from app.api.direct_routes import DirectRoutes
from app.api.errors import install_error_handlers
from app.api.middleware import HeadAsGet, RequestContext
from app.api.openapi import install_openapi
from app.blobs import BlobStore, open_blob_store
from app.db.engine import Database, close_database, open_database
from app.db.indexed_paths import settle_indexed_paths
from app.db.ingest import DuplicatePolicy
from app.db.inventory import names_blobs
from app.db.migrate import migrate
from app.db.sole_use import in_use
from app.dicom.header import ParseLimits
from app.dicomweb.searchable_attributes import parse_searchable_attributes
from app.dicomweb.urls import DICOMWEB_PREFIX
from app.observability import configure_logging, log, registry
from app.services.archive import Archive, Limits
from app.services.codec_threads import CodecThreads
from app.services.derived_cache import DerivedCache
from app.settings import LogFormat, Settings
from app.shared_metrics import SharedMetrics

UNUSED_FILES_SECONDS = 60.0
EXPOSED_HEADERS = (
    "Content-Type, Content-Length, Content-Location, Location, Warning, ETag, Last-Modified, Content-Range, "
    "Accept-Ranges, Retry-After, Server-Timing, X-Request-ID"
)


DICOMWEB_ROUTERS = (
    search.router,
    store.router,
    frames.router,
    bulkdata.router,
    bulkdata_collections.router,
    metadata.router,
    rendered.router,
    thumbnail.router,
    retrieve.router,
    delete.router,
    capabilities.router,
    wado_uri.router,
)


@asynccontextmanager
async def open_archive(settings: Settings, *, migrated: bool = True, alone: bool = False) -> AsyncIterator[Archive]:
    """The archive that the settings name, its database brought up to date. Raises Unavailable, ValueError.

    alone  while no other process has it open
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = await open_database(
        settings.effective_database_url,
        pool_size=settings.database_pool_size,
        searchable=parse_searchable_attributes(settings.searchable_attributes),
        alone=alone,
    )
    threads = CodecThreads(settings.codec_threads or os.cpu_count() or 1, timeout=settings.codec_timeout_seconds)
    try:
        async with in_use(database, alone=alone):
            if migrated:
                await migrate(database)
                await _settle_indexed_paths(database)
            blobs = open_blob_store(
                settings.effective_blob_url,
                spool_dir=settings.spool_dir,
                sync=settings.sync,
                min_free_bytes=settings.min_free_bytes,
                create=not await names_blobs(database),
            )
            try:
                yield _archive(settings, database, blobs, threads)
            finally:
                await blobs.close()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        await close_database(database)


async def _settle_indexed_paths(database: Database) -> None:
    if incomplete := await settle_indexed_paths(database):
        log.warning(
            "searchable_attributes.incomplete",
            attributes=[path.dotted for path in incomplete],
            advice="searches for them read candidates one by one; `gantry reindex` indexes what is stored",
        )


def _archive(settings: Settings, database: Database, blobs: BlobStore, threads: CodecThreads) -> Archive:
    return Archive(
        db=database,
        blobs=blobs,
        codec_threads=threads,
        duplicates=DuplicatePolicy(settings.duplicates.value),
        retention=timedelta(days=settings.retention_days),
        limits=Limits(
            parse=ParseLimits(bulkdata_threshold=settings.bulkdata_threshold),
            max_decoded_bytes=settings.max_decoded_bytes,
        ),
        cache=DerivedCache(settings.effective_cache_dir, settings.cache_bytes),
    )


@asynccontextmanager
async def _closing_unused_files(blobs: BlobStore) -> AsyncIterator[None]:
    """What another process has swept would stay on the disk as long as this one has it open."""

    async def keep_closing() -> None:
        while True:
            await asyncio.sleep(UNUSED_FILES_SECONDS)
            await blobs.close_unused_files()

    closing = asyncio.create_task(keep_closing())
    try:
        yield
    finally:
        closing.cancel()
        with suppress(asyncio.CancelledError):
            await closing


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application. Without an argument the settings come from the environment."""
    settings = settings or Settings()
    configure_logging(as_json=settings.log_format is LogFormat.JSON, level=settings.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        metrics_dir = Path(settings.metrics_dir) if settings.metrics_dir else None
        app.state.metrics = metrics = SharedMetrics(registry, metrics_dir)
        async with open_archive(settings) as archive, metrics.told(), _closing_unused_files(archive.blobs):
            app.state.door = _door(settings, archive)
            log.info("started", version=__version__, data_dir=str(settings.data_dir))
            yield
        log.info("stopped")

    app = _Application(
        title="Gantry",
        version=__version__,
        summary="DICOMweb server: QIDO-RS, WADO-RS and STOW-RS of DICOM PS3.18.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # app.api.reference is in its place
        redoc_url=None,
        default_response_class=Response,  # what a route answers with is described by the route
    )
    for router in DICOMWEB_ROUTERS:
        app.include_router(router, prefix=DICOMWEB_PREFIX)
    app.include_router(wado_uri.router)  # where its users of old look for it
    app.include_router(health.router)
    app.include_router(home.router)
    app.include_router(reference.router)
    install_error_handlers(app)
    install_openapi(app)
    app.cors_origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    return app


def create_server_app() -> FastAPI:
    """`create_app` for a process that does nothing else, with the garbage collector set for it.

    What is loaded by now stays, and need not be looked at again and again; a header that is read makes a thousand objects
    that go with their last reference. Collections took an eighth of the time of a store.
    """
    app = create_app()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    return app


def _door(settings: Settings, archive: Archive) -> Door:
    return Door(
        archive,
        public_url=settings.public_url,
        trust_forwarded=settings.trust_forwarded,
        strict_accept=settings.strict_accept,
        search_empty_status=settings.search_empty_status,
        search_max_results=settings.search_max_results,
        search_candidate_cap=settings.search_candidate_cap,
        max_request_bytes=settings.max_request_bytes,
        max_parts=settings.max_parts,
        max_frames_per_request=settings.max_frames_per_request,
    )


class _Application(FastAPI):
    """Our layers lie around those of the framework: what DirectRoutes knows never gets there."""

    cors_origins: Sequence[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Requests go to our layers at once; what the framework measures around them, RequestContext measures."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        await self.middleware_stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """The innermost layer first: the last one sees a request first and its answer last."""
        layers = super().build_middleware_stack()
        if isinstance(layers, ServerErrorMiddleware):
            layers = layers.app  # RequestContext answers what nobody foresaw, in words that clients understand
        layers = DirectRoutes(layers, routers=DICOMWEB_ROUTERS, prefix=DICOMWEB_PREFIX)
        layers = HeadAsGet(CompressText(layers))
        if self.cors_origins:
            layers = CrossOrigin(
                layers,
                allow_origins=self.cors_origins,
                allow_methods=["GET", "HEAD", "OPTIONS", "POST", "DELETE"],
                allow_headers=["*"],
                expose_headers=[name.strip() for name in EXPOSED_HEADERS.split(",")],
                max_age=86400,
            )
        return RequestContext(layers, vary_by_origin=bool(self.cors_origins))
