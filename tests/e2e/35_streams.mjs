// The part of 35_streams.sh for @kubernetes/client-node: exec, attach, port-forward. Argument: the kubeconfig.
import * as k8s from '@kubernetes/client-node';
import net from 'net';
import { PassThrough } from 'stream';
const kc = new k8s.KubeConfig();
kc.loadFromFile(process.argv[2]);
const gather = () => { const s = new PassThrough(); s.text = ''; s.on('data', (d) => (s.text += d)); return s; };
const run = (command, input) => new Promise((done, fail) => {
    const out = gather(), err = gather();
    new k8s.Exec(kc).exec('default', 'a', 'm', command, out, err, input, false, (status) => done({ out: out.text, err: err.text, status })).catch(fail);
});
let r = await run(['sh', '-c', 'echo out; echo err >&2; exit 3'], null);
console.log('exec', r.out.trim(), r.err.trim(), r.status.status, r.status.details.causes[0].message);
const out = gather();
const ws = await new k8s.Attach(kc).attach('default', 'reader', 'm', out, gather(), (() => { const s = new PassThrough(); setTimeout(() => s.write('node\n'), 200); return s; })(), false);
for (let i = 0; i < 100 && !out.text.includes('got node'); i++) await new Promise((d) => setTimeout(d, 100));
console.log('attach', out.text.trim());
ws.close();
const forward = new k8s.PortForward(kc);
const server = net.createServer((socket) => forward.portForward('default', 'a', [8080], socket, null, socket));
await new Promise((d) => server.listen(0, '127.0.0.1', d));
const page = await fetch(`http://127.0.0.1:${server.address().port}/`);
console.log('forward', (await page.text()).trim());
process.exit(0);
