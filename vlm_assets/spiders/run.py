"""The crawl's own process, started by `crawl` with the task on standard input: a reactor runs once a process."""

import importlib
import json
import sys
from typing import Any

from vlm_assets.spiders.model import CrawlTask
from vlm_assets.workers.bounds import die_with_parent


def scrapy_settings(task: CrawlTask) -> dict[str, Any]:
    """Scrapy's settings for a polite crawl."""
    from vlm_assets.spiders import polite  # noqa: PLC0415 - sets up Scrapy's reactor

    handler = polite.PoliteHandler
    return {
        polite.TASK: task,
        "USER_AGENT": task.user_agent,
        "ROBOTSTXT_OBEY": task.obey_robots,
        "ROBOTSTXT_USER_AGENT": "vlm-assets",
        "DOWNLOADER_MIDDLEWARES": {
            "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
            # The handler chooses the proxy, after the address check.
            "scrapy.downloadermiddlewares.httpproxy.HttpProxyMiddleware": None,
            polite.StrictRobots: 100,
        },
        "DOWNLOAD_HANDLERS": {
            "http": handler,
            "https": handler,
            "ftp": None,
            "file": None,
            "data": None,
            "s3": None,
        },
        "TWISTED_DNS_RESOLVER": polite.GuardedResolver,
        "DOWNLOAD_VERIFY_CERTIFICATES": True,  # Scrapy's default is not to
        "CONCURRENT_REQUESTS": task.concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": task.concurrency,
        "DOWNLOAD_DELAY": task.delay_s,
        "DOWNLOAD_DELAY_JITTER": 0.0,  # never sooner than the delay says
        "AUTOTHROTTLE_ENABLED": True,
        "AUTOTHROTTLE_START_DELAY": task.delay_s,
        "AUTOTHROTTLE_TARGET_CONCURRENCY": float(task.concurrency),
        "DOWNLOAD_TIMEOUT": task.timeout_s,
        "DOWNLOAD_MAXSIZE": 64 * 2**20,
        "RETRY_TIMES": task.attempts - 1,
        "COOKIES_ENABLED": False,
        "METAREFRESH_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,  # on by default since 2.19: a local port that takes commands
        "LOG_LEVEL": "INFO",
    }


def main(parent: int) -> None:
    """Crawls what the task says, while `parent` lives; results and errors lie in its folder."""
    die_with_parent(parent)
    task = CrawlTask.from_json(json.load(sys.stdin))
    from scrapy.crawler import CrawlerProcess  # noqa: PLC0415 - installs the reactor

    spider = importlib.import_module(f"vlm_assets.spiders.{task.spider}").SPIDER
    process = CrawlerProcess(scrapy_settings(task), install_root_handler=True)
    process.crawl(spider, task=task)
    process.start()
