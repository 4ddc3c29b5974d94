"""Write tests/old/scalers.zip: fitted scalers as scikit-learn 1.2.2, numpy 1.24.4 and joblib 1.2.0 pickle them.

    pip install scikit-learn==1.2.2 numpy==1.24.4 joblib==1.2.0 && python tests/old/write.py

`<name>.<protocol>.pkl`, `<name>.<compression>.joblib`, `<name>.attributes.npz` (every float array of the estimator),
`<name>.answers.npy` (its transform of `rows.npy`).
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import joblib
import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

SCALERS = {
    "standard": StandardScaler(),
    "minmax": MinMaxScaler((-1, 2), clip=True),
    "maxabs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "power": PowerTransformer(),
    "boxcox": PowerTransformer("box-cox", standardize=False),
    "quantile": QuantileTransformer(n_quantiles=20, output_distribution="normal"),
    "normalizer": Normalizer("l1"),
    "kbins": KBinsDiscretizer(4, encode="ordinal"),
    "imputer": SimpleImputer(),
    "pipeline": make_pipeline(MinMaxScaler(), StandardScaler()),
    "function": FunctionTransformer(np.log1p),
}
COMPRESSIONS = {"plain": 0, **{name: (name, 3) for name in ("zlib", "gzip", "bz2", "xz", "lzma")}}


def saved(save: object, *values: object, **named: object) -> bytes:
    file = io.BytesIO()
    save(file, *values, **named)  # type: ignore[operator]
    return file.getvalue()


def main() -> None:
    train = np.exp(np.random.default_rng(5).standard_normal((50, 3))) * [1, 100, 1e4] + [0.1, 3, 50]
    rows = np.abs(train[:7] * 1.37 - 0.05)
    with zipfile.ZipFile(Path(__file__).parent / "scalers.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.npy", saved(np.save, rows))
        for name, scaler in SCALERS.items():
            scaler.fit(train)
            held = {k: v for k, v in vars(scaler).items() if isinstance(v, np.ndarray) and v.dtype == float}
            archive.writestr(f"{name}.attributes.npz", saved(np.savez, **held))
            archive.writestr(f"{name}.answers.npy", saved(np.save, scaler.transform(rows)))
            for protocol in range(6):
                archive.writestr(f"{name}.{protocol}.pkl", pickle.dumps(scaler, protocol=protocol))
            for way, compress in COMPRESSIONS.items():
                file = io.BytesIO()
                joblib.dump(scaler, file, compress=compress)
                archive.writestr(f"{name}.{way}.joblib", file.getvalue())


if __name__ == "__main__":
    main()
