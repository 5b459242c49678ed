// What JupyterLab (from version 4 on) and Notebook (from 7 on) load of a federated extension, written by hand: nothing
// is built. They run this script, call `init` with the packages that they share, and `get` for the plugin.
//
// Its name and its directory's modules carry the version, or a browser would go on with those of an older one.

(() => {
  const NAME = 'fim-magic';
  const FILES = ['channel', 'notebooks', 'ghost', 'fill', 'plugin'];
  const { src } = document.currentScript;
  const [, version] = /remoteEntry\.(.+)\.js/.exec(src);
  let scope = {};

  /** A package of the page's: whatever version it has, and the one that it runs where it has several. */
  function found(name) {
    const versions = Object.entries(scope[name] ?? {});
    const [version, given] = versions.find(([, { loaded }]) => loaded) ?? versions[versions.length - 1] ?? [];
    return { version, given };
  }

  async function shared(name) {
    const { given } = found(name);
    return given ? (await given.get())() : null;
  }

  const load = (file) => import(new URL(`${file}.js?fim-magic=${version}`, src).href);

  globalThis._JUPYTERLAB ??= {};
  globalThis._JUPYTERLAB[NAME] = {
    init: (given) => {
      scope = given;
    },
    get: async () => {
      const modules = await Promise.all(FILES.map(load));
      const parts = Object.assign({}, ...modules);
      const packages = {
        notebook: await shared('@jupyterlab/notebook'),
        apputils: await shared('@jupyterlab/apputils'),
        completer: await shared('@jupyterlab/completer'),
        statusbar: await shared('@jupyterlab/statusbar'),
        widgets: await shared('@lumino/widgets'),
        commands: await shared('@lumino/commands'),
        completerVersion: found('@jupyterlab/completer').version,
      };
      const plugin = parts.plugin(packages, parts);
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();
