// What programs do with @kubernetes/client-node, against the cluster of KUBECONFIG. It runs from the folder that npm installed into.
import * as k8s from '@kubernetes/client-node';
import net from 'node:net';
import { Writable, Readable } from 'node:stream';

const NS = 'node-client', IMAGE = 'skiff/guestbook:1';
let failures = 0;
const check = (text, good, shown = '') => {
    if (!good) failures++;
    console.log(`${good ? 'ok' : 'not ok'} node: ${text}${good ? '' : ' -- got: ' + JSON.stringify(shown)}`);
};
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
async function until(text, probe, seconds = 60) {
    const deadline = Date.now() + seconds * 1000;
    let got;
    while (Date.now() < deadline) {
        got = await probe();
        if (got) return check(text, true);
        await sleep(100);
    }
    check(text, false, got);
}
async function status(fn) {
    try {
        await fn();
        return 200;
    } catch (e) {
        return e.code ?? String(e);
    }
}
function sink() {
    const s = new Writable({ write(chunk, _, done) { s.text += chunk; done(); } });
    s.text = '';
    return s;
}

const kc = new k8s.KubeConfig();
kc.loadFromDefault();
const core = kc.makeApiClient(k8s.CoreV1Api), apps = kc.makeApiClient(k8s.AppsV1Api);

async function objects() {
    await core.createNamespace({ body: { metadata: { name: NS } } });
    await until('the namespace gets its ServiceAccount', async () => (await core.listNamespacedServiceAccount({ namespace: NS })).items.length > 0);
    const made = await core.createNamespacedConfigMap({ namespace: NS, body: { metadata: { name: 'c' }, data: { a: '1' } } });
    check('create', made.data.a === '1' && made.metadata.uid, made);
    check('create it again', (await status(() => core.createNamespacedConfigMap({ namespace: NS, body: { metadata: { name: 'c' } } }))) === 409);
    check('get what is not there', (await status(() => core.readNamespacedConfigMap({ namespace: NS, name: 'nowhere' }))) === 404);
    const patched = await core.patchNamespacedConfigMap({ namespace: NS, name: 'c', body: [{ op: 'add', path: '/data/b', value: '2' }] },
        k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch));
    check('JSON patch', patched.data.b === '2', patched.data);
    const merged = await core.patchNamespacedConfigMap({ namespace: NS, name: 'c', body: { data: { a: null } } },
        k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch));
    check('merge patch', !merged.data.a && merged.data.b === '2', merged.data);
    const strategic = await core.patchNamespacedConfigMap({ namespace: NS, name: 'c', body: { data: { s: 't' } } },
        k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.StrategicMergePatch));
    check('strategic merge patch', strategic.data.s === 't', strategic.data);
    const applied = await core.patchNamespacedConfigMap({ namespace: NS, name: 'c', fieldManager: 'node', force: true,
        body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' }, data: { z: '9' } } },
        k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.ServerSideApply));
    check('server-side apply', applied.data.z === '9' && applied.data.s === 't' &&
        applied.metadata.managedFields.some((m) => m.manager === 'node' && m.operation === 'Apply'), applied);
    const client = k8s.KubernetesObjectApi.makeApiClient(kc);
    const generic = await client.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'generic', namespace: NS } });
    check('the generic client', generic.metadata.uid);
    check('  it reads', (await client.read({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'generic', namespace: NS } })).metadata.uid === generic.metadata.uid);
    await client.delete({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'generic', namespace: NS } });
    check('  it deletes', (await status(() => core.readNamespacedConfigMap({ namespace: NS, name: 'generic' }))) === 404);
}

async function informers() {
    const informer = k8s.makeInformer(kc, `/api/v1/namespaces/${NS}/configmaps`, () => core.listNamespacedConfigMap({ namespace: NS }));
    const seen = [];
    for (const verb of ['add', 'update', 'delete']) informer.on(verb, (o) => seen.push(`${verb} ${o.metadata.name}`));
    const errors = [];
    informer.on('error', (e) => errors.push(String(e)));
    await informer.start();
    await until('an informer lists', () => seen.includes('add c'));
    await core.createNamespacedConfigMap({ namespace: NS, body: { metadata: { name: 'i' } } });
    await until('  and watches', () => seen.includes('add i'));
    await core.patchNamespacedConfigMap({ namespace: NS, name: 'i', body: { data: { x: 'y' } } }, k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch));
    await until('  updates', () => seen.includes('update i'));
    await core.deleteNamespacedConfigMap({ namespace: NS, name: 'i' });
    await until('  deletions', () => seen.includes('delete i'));
    check('  its cache', informer.get('c', NS)?.metadata.name === 'c' && !informer.get('i', NS));
    await informer.stop();
    check('  without errors but that of its own end', errors.every((e) => e.startsWith('AbortError')), errors);
}

async function streams() {
    const pod = { metadata: { name: 'box' }, spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'main', image: IMAGE,
        command: ['sh', '-c', 'mkdir /w; echo served >/w/index.html; echo started; exec httpd -f -p 8080 -h /w'] }] } };
    await core.createNamespacedPod({ namespace: NS, body: pod });
    await until('a pod runs', async () => (await core.readNamespacedPod({ namespace: NS, name: 'box' })).status.phase === 'Running');
    const exec = new k8s.Exec(kc);
    const out = sink(), err = sink();
    let result;
    await exec.exec(NS, 'box', 'main', ['sh', '-c', 'cat; echo err >&2; exit 4'], out, err, Readable.from(['typed']), false, (s) => { result = s; });
    await until('exec ends', () => result, 20);
    const cause = result?.details?.causes?.[0];
    check('exec with input, both outputs and the exit code', out.text === 'typed' && err.text === 'err\n' && cause?.message === '4', [out.text, err.text, result]);
    const log = sink();
    await new k8s.Log(kc).log(NS, 'box', 'main', log, { follow: false });
    await until('logs', () => log.text === 'started\n', 10);
    const forward = new k8s.PortForward(kc);
    const server = net.createServer((socket) => forward.portForward(NS, 'box', [8080], socket, null, socket));
    await new Promise((r) => server.listen(0, '127.0.0.1', r));
    const page = await fetch(`http://127.0.0.1:${server.address().port}/`, { headers: { connection: 'close' } });
    check('port-forward', (await page.text()).trim() === 'served');
    server.close();
    const attach = new k8s.Attach(kc);
    const ws = await attach.attach(NS, 'box', 'main', sink(), sink(), null, false);
    check('attach', ws.readyState <= 1);
    ws.close();
}

for (const group of [objects, informers, streams]) {
    try {
        await group();
    } catch (e) {
        check(`${group.name} broke off`, false, String(e.stack ?? e).slice(0, 600));
    }
}
await core.deleteNamespace({ name: NS });
process.exit(failures ? 1 : 0);
