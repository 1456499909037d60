"""What a stream's configuration says of its detectors, as the ensemble is told it."""

from collections.abc import Mapping
from typing import Any

from detectors.ensemble import EnsembleSettings
from detectors.registry import load, options, profile, registered
from tsad.config import ConfigError, StreamConfig


def ensemble_settings(config: StreamConfig, labels: Mapping[str, Mapping[str, str]] | None = None) -> EnsembleSettings:
    """What the ensemble of a stream is told; ConfigError for an unknown profile, detector or option."""
    try:
        offered, few = profile(config.profile), profile(config.profile, few_channels=True)
        names = config.detectors or tuple(offered)
        for name in [*names, *config.detector_options]:
            registered(name)
    except KeyError as error:
        raise ConfigError(error.args[0]) from error
    for name, given in config.detector_options.items():
        _check_options(name, given, offered.get(name, {}))
    by = config.group_by or ""
    groups = {entity: given[by] for entity, given in (labels or {}).items() if by in given}
    return EnsembleSettings(
        step_ns=config.step,
        window=config.window,
        detectors=_told({name: offered.get(name, {}) for name in names}, config),
        few_channels=None if config.detectors else _told(few, config),
        fusion=config.fusion,
        scope=config.scope,
        groups=groups,
        model_memory=config.model_memory_mib << 20,
        alert_budget=config.alert_budget,
        expected_entities=config.expected_entities,
        settle=config.settle,
        quiet=config.quiet,
        calibration=config.calibration,
        seed=config.seed,
        max_windows=config.max_windows,
        accept=config.accept,
        timezone=config.timezone,
        seasons=config.seasons,
    )


def _told(detectors: Mapping[str, dict[str, Any]], config: StreamConfig) -> dict[str, dict[str, Any]]:
    """Detectors with the options that the configuration adds."""
    return {name: options | config.detector_options.get(name, {}) for name, options in detectors.items()}


def _check_options(name: str, given: Mapping[str, Any], offered: Mapping[str, Any]) -> None:
    """ConfigError for an option or a value that detector `name` does not take."""
    allowed = options(name)
    for option in [] if allowed is None else given.keys() - allowed:
        said = f"detector_options.{name}.{option} = {given[option]!r}"
        raise ConfigError(f"{said} is unknown; allowed: {', '.join(allowed or ['none'])}")
    try:
        load(name)(**{**offered, **given})
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"detector_options.{name}: {error.args[0]}") from error
