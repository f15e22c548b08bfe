"""`python -m vlm_assets.demo.services [PORT]`: the hosted services in the foreground, for trying things by hand."""

import sys
import threading

from vlm_assets.demo.services.images import ImageSite
from vlm_assets.demo.services.running import start_services


def main() -> None:
    """Serves until interrupted; prints the variables to export."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 18600
    with ImageSite(port) as site, start_services(site, port + 1) as services:
        lines = [f"export {name}={value}" for name, value in services.environment().items()]
        sys.stdout.write("\n".join([f"# images at {site.url}", *lines, ""]))
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
