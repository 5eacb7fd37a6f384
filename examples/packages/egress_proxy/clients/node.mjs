// One request with one client of Node, by the proxy of the environment.
const [client, kind] = process.argv.slice(2);
const url = { plain: process.env.PLAIN + "/hello", secure: process.env.SECURE + "/hello", refused: "https://elsewhere.test/" }[kind];
try {
  if (client === "undici") {
    const { ProxyAgent, request } = await import("undici");
    const { body } = await request(url, { dispatcher: new ProxyAgent(process.env.PROXY_URL) });
    console.log(await body.text());
  } else {
    const { default: axios } = await import("axios");
    const { HttpsProxyAgent } = await import("https-proxy-agent");
    const options = kind === "plain" ? {} : { proxy: false, httpsAgent: new HttpsProxyAgent(process.env.PROXY_URL) };
    console.log((await axios.get(url, options)).data);
  }
} catch (error) {
  console.log(String(error), error.response?.statusText ?? "", JSON.stringify(error.response?.data ?? ""));
}
