"""The images as they are built and run: tests that make them with buildah, without any registry of images."""
