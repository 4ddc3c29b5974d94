"""Small real models, each trained on scaled inputs and exported without its scaler. See README.md."""
