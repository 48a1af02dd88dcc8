"""python -m keras_impl train | evaluate, on the backend that KERAS_BACKEND names."""

from keras_impl.commands import build_parser, main

__all__ = ["build_parser", "main"]

if __name__ == "__main__":
    main()
