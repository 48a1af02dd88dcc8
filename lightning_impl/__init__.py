"""The reference's own modules, trained by Lightning. Importing the package itself loads nothing."""
