"""Headless Chromium over its DevTools protocol: pages, clicks, keys, screenshots. Nothing of the panel is known here."""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import websocket

PROGRAM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
KEYS = {
    " ": ("Space", 32, " "),
    "Enter": ("Enter", 13, "\r"),
    "Backspace": ("Backspace", 8, None),
    "Escape": ("Escape", 27, None),
}


class Browser:
    def __init__(self, width=1280, height=800):
        self.profile = tempfile.mkdtemp(prefix="panel-browser-")
        self.process = subprocess.Popen(
            [PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--remote-allow-origins=*",
             "--no-first-run", "--hide-scrollbars", f"--user-data-dir={self.profile}", f"--window-size={width},{height}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        told = Path(self.profile) / "DevToolsActivePort"
        wait(lambda: told.exists() and len(told.read_text().split()) == 2, "the browser starts", 60)
        self.port = int(told.read_text().split()[0])

    def page(self, url, width=1280, height=800, touch=False):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/json/new?about:blank", method="PUT")
        target = json.load(urllib.request.urlopen(request))
        page = Page(target["webSocketDebuggerUrl"])
        page.resize(width, height, touch)
        page.go(url)
        return page

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.profile, ignore_errors=True)


class Page:
    def __init__(self, url):
        self.socket = websocket.create_connection(url, timeout=30)
        self.ids = itertools.count(1)
        self.errors = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        me = next(self.ids)
        self.socket.send(json.dumps({"id": me, "method": method, "params": params}))
        while True:
            said = json.loads(self.socket.recv())
            if said.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(json.dumps(said["params"])[:600])
            if said.get("id") == me:
                assert "error" not in said, said
                return said["result"]

    def resize(self, width, height, touch=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)

    def go(self, url):
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.protocol.startsWith('http')", f"{url} is there")

    def js(self, text):
        result = self.call("Runtime.evaluate", expression=text, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def text(self, selector):
        return self.js(f"document.querySelector({selector!r})?.innerText ?? ''")

    def shown(self, selector):
        return self.js(f"!!document.querySelector({selector!r})?.offsetParent")

    def until(self, condition, what, within=30):
        wait(lambda: self.js(condition), what, within)

    def box(self, selector):
        self.js(f"document.querySelector({selector!r}).scrollIntoView({{block: 'nearest'}})")
        return self.js(f"(({{x, y, width, height}}) => [x, y, width, height])(document.querySelector({selector!r}).getBoundingClientRect())")

    def click(self, selector):
        x, y, width, height = self.box(selector)
        at = {"x": x + width / 2, "y": y + height / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **at)

    def key(self, key, hold=0.0):
        code, number, text = KEYS.get(key, (f"Key{key.upper()}" if key.isalpha() else f"Digit{key}", ord(key.upper()[0]), key))
        press = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", **press, **({"text": text} if text else {}))
        time.sleep(hold)
        self.call("Input.dispatchKeyEvent", type="keyUp", **press)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def picture(self, file):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        Path(file).write_bytes(base64.b64decode(data))

    def close(self):
        self.call("Page.close")
        self.socket.close()


def wait(condition, what, within):
    until = time.monotonic() + within
    while not condition():
        assert time.monotonic() < until, f"waited {within} s in vain until {what}"
        time.sleep(0.05)
