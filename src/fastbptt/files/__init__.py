"""Files, whatever they hold: atomic writing, and a safetensors container with a digest."""
