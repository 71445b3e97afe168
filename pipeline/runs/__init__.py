"""Run folders: file names, manifests, parameters."""
