// A browser starts no Worker for a page that was opened from a folder: the search's runs in a hidden frame there.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inner = frame.contentWindow
      inner.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      this.loaded = new Promise(resolve => {
        const script = inner.document.createElement("script")
        script.src = new URL(url, location)
        script.onload = () => resolve(inner)
        inner.document.body.append(script)
      })
    }

    postMessage(data) {
      this.loaded.then(inner => inner.dispatchEvent(new MessageEvent("message", { data })))
    }

    terminate() {}
  }
}
