"""Which models and variants there are, what each is for, and whether its weights are here."""

from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

import models as registry
from models import weights
from routes.context import ModelPath, studio
from routes.errors import COMMON, ErrorAnswer

TAG = Tag(name="models", description="Models and variants")
bp = APIBlueprint("models", __name__, abp_responses=COMMON, abp_tags=[TAG])


class VariantAnswer(BaseModel):
    """One variant of a model."""

    cached: bool
    download_size_bytes: int | None
    license: str | None
    note: str | None = Field(description="What whoever chooses it must know.")
    loaded: bool


class ModelAnswer(BaseModel):
    """One model's configuration."""

    purpose: str
    default_model: str
    available_models: list[str]
    file_types: list[str]
    stage: str
    parameters: dict[str, Any]
    variants: dict[str, VariantAnswer]


class ModelsAnswer(BaseModel):
    """What `GET /models` answers."""

    models: dict[str, ModelAnswer]
    message: str


class OneModelAnswer(BaseModel):
    """What `GET /models/<model_name>` answers."""

    model: str
    config: ModelAnswer


def _describe(spec: registry.ModelSpec) -> ModelAnswer:
    """One model's configuration, with the state of its weights."""
    alive = studio().alive_workers()
    wrapper = spec.wrapper(studio().musicgen_engine)
    loaded = {tuple(key) for worker in alive for key in worker.info.get("loaded", ())}
    return ModelAnswer(
        purpose=spec.purpose,
        default_model=spec.default_variant,
        available_models=list(spec.variants),
        file_types=list(registry.FILE_TYPES),
        stage=spec.stage,
        parameters=spec.module.Request.model_json_schema()["properties"],
        variants={
            variant: VariantAnswer(
                **weights.describe(wrapper, variant, studio().models_dir), loaded=(spec.name, variant) in loaded
            )
            for variant in spec.variants
        },
    )


@bp.get("/models", responses={200: ModelsAnswer})
def list_models() -> Response:
    """Every model with its variants."""
    found = {name: _describe(spec) for name, spec in registry.REGISTRY.items()}
    return jsonify(ModelsAnswer(models=found, message=f"{len(found)} models are available.").model_dump())


@bp.get("/models/<model_name>", responses={200: OneModelAnswer, 404: ErrorAnswer})
def one_model(path: ModelPath) -> Response:
    """One model's configuration."""
    spec = registry.spec(path.model_name)
    return jsonify(OneModelAnswer(model=spec.name, config=_describe(spec)).model_dump())
