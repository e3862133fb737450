"""quixstreams without state of its own: a plain dict, nothing saved."""

from bench.contenders import arguments
from bench.contenders.quix_rocksdb import run

if __name__ == "__main__":
    run(arguments(), durable=False)
